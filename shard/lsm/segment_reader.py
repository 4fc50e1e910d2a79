"""Reading a WAL segment: its records up to the first place that is not one, and a verdict on that place.

A verdict is needed because zeros, a torn write, rot and an old block all look alike at first: what tells them apart is
whether something behind the place verifies, and whether that says that what is missing had been on stable storage.
Zeros end a log only if nothing but zeros follows, since pages may reach the disk in any order before they are synced.
What to do about a verdict is recovery's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from sherd.common.disk import Disk, File
from sherd.common.errors import StoreCorrupt, StoreFormat
from sherd.shard.lsm.format import RECORD_FLAGS_KNOWN, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from sherd.shard.lsm.segment import SegmentHeader
from sherd.shard.lsm.segment_scan import (
    BAD_BODY,
    BAD_HEADER,
    FILE_END,
    MORE,
    OUT_OF_ORDER,
    RECORD,
    TRUNCATED,
    ZERO_HEADER,
    RecordHeader,
    RecordScanner,
    find_header,
)

READ_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(READ_BYTES)


class Reason(StrEnum):
    """Why reading a segment stopped."""

    END = "end"  # nothing but zeros, or nothing at all, behind the last record
    HOLE = "hole"  # zeros where a record should begin, and something behind them
    BAD_HEADER = "bad header"
    BAD_BODY = "bad body"  # under a header that verifies
    TRUNCATED = "truncated"  # the file ends within a record
    OUT_OF_ORDER = "out of order"  # a record that verifies, but its LSNs do not go on from the last one's


_REASONS: Final = {
    ZERO_HEADER: Reason.HOLE,
    BAD_HEADER: Reason.BAD_HEADER,
    BAD_BODY: Reason.BAD_BODY,
    TRUNCATED: Reason.TRUNCATED,
    OUT_OF_ORDER: Reason.OUT_OF_ORDER,
    FILE_END: Reason.END,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where and why reading a segment stopped, and what stands behind that place."""

    reason: Reason
    offset: int
    """Of the first byte that is not part of a good record."""
    missing_lsn: int
    """First LSN that was not read, so the first that is missing unless this is the log's end; 0 = not known."""
    next_valid: int | None
    """Offset of the next header that verifies, or None."""
    synced_max: int
    """Highest ``synced`` of the headers that verify behind ``offset``; 0 if there is none."""
    used_bytes: int
    """Position after the last byte worth saving: not zero, or of a record; ``offset`` if only zeros follow."""

    @property
    def clean(self) -> bool:
        """Whether nothing was found wrong."""
        return self.reason is Reason.END

    @property
    def covered(self) -> bool:
        """Whether something missing is known to have been on stable storage: not a torn tail but corruption.

        Where ``missing_lsn`` is not known this errs on the side of refusing. Headers of later segments may cover it
        too: ask their ``SegmentReader.covers``.
        """
        return not self.clean and self.synced_max > 0 and self.synced_max >= self.missing_lsn


class SegmentReader:
    """Reads one segment from its beginning, in large chunks; memory is one chunk and the largest record."""

    __slots__ = ("_file", "file_bytes", "header", "path", "verdict")

    def __init__(self, file: File, header: SegmentHeader) -> None:
        self._file = file
        self.path = file.path
        self.header = header
        self.file_bytes = file.size()
        self.verdict: Verdict | None = None

    @classmethod
    def open(cls, disk: Disk, path: str, number: int | None = None) -> Self:
        """Open a segment, which must be ``number`` if that is given. Raises StoreCorrupt, StoreFormat, OSError."""
        file = disk.open_read(path)
        try:
            header = SegmentHeader.decode(file.pread(SEGMENT_HEADER_BYTES, 0), path)
            if number is not None and header.number != number:
                raise StoreCorrupt(f"{path} offset 16: holds log segment {header.number}, not {number}")
            return cls(file, header)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def records(self, next_lsn: int = 0) -> Iterator[tuple[int, RecordHeader, bytes]]:
        """Each good record as (offset, header, body), up to the first place that is not one; then ``verdict`` is set.

        ``next_lsn`` is the LSN the first record must begin with (a term record: or any above), 0 if it is not known.
        Bodies are checksummed, not decoded. StoreFormat for a record of a kind that this version does not know.
        """
        self.verdict = None
        scanner = RecordScanner(self.header.salt, SEGMENT_HEADER_BYTES, self.file_bytes, next_lsn)
        found = MORE
        while True:
            found = scanner.next()
            if found == RECORD:
                if scanner.header.flags & ~RECORD_FLAGS_KNOWN:
                    raise StoreFormat(f"{self.path} offset {scanner.offset}: record flags {scanner.header.flags:#x}")
                yield scanner.offset, scanner.header, scanner.body
            elif found == MORE:
                scanner.feed(self.read_at(max(READ_BYTES, scanner.needed), scanner.position))
            else:
                break
        self.verdict = self._judge(found, scanner)

    def headers(self, offset: int = SEGMENT_HEADER_BYTES) -> Iterator[tuple[int, RecordHeader]]:
        """Every header from ``offset`` (a multiple of 16) on that verifies, searching over whatever lies between.

        A header that verifies says where its record ends, so nothing inside that record is taken for a header.
        """
        used = self.used_bytes(offset)
        while offset < used and self.file_bytes - offset >= RECORD_HEADER_BYTES:
            data = self.read_at(READ_BYTES, offset)
            pos = 0
            while (at := find_header(data, pos, self.header.salt)) >= 0:
                header = RecordHeader(data, at)
                yield offset + at, header
                pos = at + header.record_bytes
            examined = (len(data) - RECORD_HEADER_BYTES) // 16 * 16 + 16
            offset += max(pos, examined)

    def covers(self, lsn: int) -> bool:
        """Whether any header of this segment that verifies says that ``lsn`` had reached stable storage."""
        return any(header.synced >= lsn for _, header in self.headers())

    def read_at(self, size: int, offset: int) -> bytes:
        """Exactly ``size`` bytes, or as many as the file has behind ``offset``. StoreCorrupt if it has shrunk."""
        size = min(size, self.file_bytes - offset)
        data = self._file.pread(size, offset)
        if len(data) < size:
            raise StoreCorrupt(f"{self.path} offset {offset + len(data)}: the file shrank while it was read")
        return data

    def _judge(self, found: int, scanner: RecordScanner) -> Verdict:
        """Look at everything behind the place where the sequence of records stopped."""
        offset = scanner.offset
        missing_lsn = scanner.next_lsn
        used = self.used_bytes(offset)
        begin = offset
        if found == BAD_BODY:
            begin += scanner.header.record_bytes
            missing_lsn = missing_lsn or scanner.header.first_lsn
        elif found == TRUNCATED:
            begin = self.file_bytes
        elif found != OUT_OF_ORDER:
            begin += 16
        next_valid: int | None = None
        synced_max = 0
        for at, header in self.headers(begin):
            next_valid = at if next_valid is None else next_valid
            synced_max = max(synced_max, header.synced)
            used = max(used, at + header.record_bytes)
        used = min(max(used, begin) if found == BAD_BODY else used, self.file_bytes)
        reason = Reason.END if found == ZERO_HEADER and used == offset else _REASONS[found]
        return Verdict(reason, offset, missing_lsn, next_valid, synced_max, used)

    def used_bytes(self, floor: int) -> int:
        """Position after the file's last byte that is not zero, at least ``floor``."""
        end = self.file_bytes
        while end > floor:
            begin = max(floor, end - READ_BYTES)
            data = self.read_at(end - begin, begin)
            if data != _ZEROS[: len(data)]:
                return begin + len(data.rstrip(b"\0"))
            end = begin
        return floor
