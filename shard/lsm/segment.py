"""A WAL segment: a preallocated file of records, one segment for one memtable. Layout: FORMAT.md, "Segment".

Invariants: a segment's name becomes visible only after its header and its room are durable; every segment has a random
salt of its own, which seeds the checksums of its record headers; records are appended by one writer in one life of the
process, and nobody appends to a segment that was found on disk. Reading: segment_reader.py.
"""

import contextlib
import errno
from dataclasses import dataclass
from typing import Final, Self

import cython
from xxhash import xxh3_64_intdigest

from sherd.common.disk import Disk, File
from sherd.common.errors import StoreCorrupt, StoreFormat, StoreFull, StorePoisoned
from sherd.shard.lsm.format import (
    FORMAT_VERSION,
    SEGMENT_CHECKED_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    segment_name,
)

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first 64 bytes of a segment. ``salt`` is random, 64 bits."""

    number: int
    salt: int

    def encode(self) -> bytes:
        checked = b"".join(
            (
                SEGMENT_MAGIC,
                FORMAT_VERSION.to_bytes(4, "little"),
                SEGMENT_HEADER_BYTES.to_bytes(4, "little"),
                self.number.to_bytes(8, "little"),
                self.salt.to_bytes(8, "little"),
            )
        ).ljust(SEGMENT_CHECKED_BYTES, b"\0")
        return checked + xxh3_64_intdigest(checked).to_bytes(8, "little")

    @classmethod
    def decode(cls, data: bytes, name: str) -> Self:
        """The header in the first bytes of ``data``; ``name`` is for messages. Raises StoreCorrupt or StoreFormat."""
        if len(data) < SEGMENT_HEADER_BYTES:
            raise StoreCorrupt(f"{name} offset 0: {len(data)} bytes are too few for a log segment")
        checked = data[:SEGMENT_CHECKED_BYTES]
        if xxh3_64_intdigest(checked) != int.from_bytes(data[SEGMENT_CHECKED_BYTES:SEGMENT_HEADER_BYTES], "little"):
            raise StoreCorrupt(f"{name} offset 0: the log segment's header fails its checksum")
        if not checked.startswith(SEGMENT_MAGIC):
            raise StoreFormat(f"{name} is not a log segment")
        version = int.from_bytes(checked[8:12], "little")
        if version != FORMAT_VERSION or int.from_bytes(checked[12:16], "little") != SEGMENT_HEADER_BYTES:
            raise StoreFormat(f"{name} has format version {version}; this Sherd reads version {FORMAT_VERSION}")
        return cls(int.from_bytes(checked[16:24], "little"), int.from_bytes(checked[24:32], "little"))


def prepare_segment(disk: Disk, temporary: str, number: int, capacity: int, salt: int) -> None:
    """Make segment ``number`` under a temporary path, with room for ``capacity`` bytes in all, durable but not named.

    StoreFull if the disk has no room; whatever goes wrong, no temporary file is left that could be removed.
    """
    file = disk.create(temporary)
    try:
        with contextlib.closing(file):
            file.allocate(max(capacity, SEGMENT_HEADER_BYTES))
            file.write(SegmentHeader(number, salt).encode())
            file.sync()
    except OSError as error:
        with contextlib.suppress(OSError):
            disk.unlink(temporary)
        if error.errno in _NO_ROOM:
            raise StoreFull(f"no room on the disk for a log segment of {capacity} bytes at {temporary}") from error
        raise


def install_segment(disk: Disk, directory: str, temporary: str, number: int) -> str:
    """Give a prepared segment its name, durably. Returns its path."""
    path = f"{directory}/{segment_name(number)}"
    disk.rename(temporary, path)
    disk.sync_dir(directory)
    return path


def cut_segment(disk: Disk, path: str, offset: int) -> None:
    """Make a segment end at ``offset``, durably; what stood behind is gone (save it first)."""
    with contextlib.closing(disk.open_append(path)) as file:
        file.truncate(offset)
        file.sync()


@cython.cclass
class SegmentWriter:
    """The segment being written. ``position`` is where the next record goes, ``room`` the bytes left for records.

    After a failed ``append`` nobody knows what the file holds behind ``position``: later calls raise StorePoisoned.
    """

    def __init__(self, file: File, header: SegmentHeader, capacity: int) -> None:
        self._file = file
        self._failed = False
        self.path = file.path
        self.number = header.number
        self.salt = header.salt
        self.capacity = capacity
        self.position = SEGMENT_HEADER_BYTES

    @classmethod
    def open(cls, disk: Disk, path: str) -> Self:
        """The prepared segment at ``path``, which no record was ever written to. Raises StoreCorrupt, StoreFormat."""
        file = disk.open_append(path, SEGMENT_HEADER_BYTES)
        try:
            header = SegmentHeader.decode(file.pread(SEGMENT_HEADER_BYTES, 0), path)
            return cls(file, header, file.size())
        except BaseException:
            file.close()
            raise

    @property
    def room(self) -> int:
        return self.capacity - self.position

    @cython.ccall
    def append(self, records: bytes) -> None:
        """Write whole records, as ``RecordBuilder.seal`` gives them, with one write. ValueError if there is no room."""
        if self._failed:
            raise StorePoisoned(f"an earlier write to {self.path} failed")
        if len(records) > self.capacity - self.position:
            raise ValueError(f"{len(records)} bytes do not fit in the {self.room} left in {self.path}")
        try:
            self._file.write(records)
        except BaseException:
            self._failed = True
            raise
        self.position += len(records)

    def sync(self) -> None:
        """Make what was appended durable. Safe to call from another thread."""
        self._file.sync()

    def trim(self) -> None:
        """Give the unused room back to the disk, once no record will follow. The size is durable with the next sync."""
        if self._failed:
            raise StorePoisoned(f"an earlier write to {self.path} failed")
        self._file.truncate(self.position)
        self.capacity = self.position

    def close(self) -> None:
        self._file.close()
