"""Header, footer and properties of a table file: what says where everything else lies. Layout: FORMAT.md, "Table".

Invariant of a whole table: header, data blocks, index, filter, properties, (room for separated values,) footer follow
each other without a gap, so every byte of the file is covered by some checksum.
"""

import struct
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

import msgpack
from xxhash import xxh3_64_intdigest

from sherd.common.errors import StoreFormat
from sherd.shard.lsm.format import (
    BLOCK_TRAILER_BYTES,
    FORMAT_VERSION,
    TABLE_FOOTER_BYTES,
    TABLE_HEADER_BYTES,
    TABLE_MAGIC,
)

RAW_BLOCK_BYTES_MAX: Final = 1 << 30
"""No block, index, filter or properties may ask a reader for more memory than this."""

_HEADER: Final = struct.Struct("<8sIIQQ")  # magic, version, flags, salt, checksum
_FOOTER: Final = struct.Struct("<8sII QII QII QII QII QQ 24x Q")
_CHECKSUM_BYTES: Final = 8
HANDLE: Final = struct.Struct("<QII")  # of a block, as the index has them: offset, stored bytes, raw bytes


@dataclass(frozen=True, slots=True)
class Handle:
    """Where a stored block lies: ``stored_bytes`` without its trailer, ``raw_bytes`` decompressed."""

    offset: int
    stored_bytes: int
    raw_bytes: int

    @property
    def end(self) -> int:
        """The offset after the block's trailer."""
        return self.offset + self.stored_bytes + BLOCK_TRAILER_BYTES


@dataclass(frozen=True, slots=True)
class Footer:
    """The end of a table file. A filter of 0 raw bytes: the table has none."""

    index: Handle
    filter: Handle
    properties: Handle
    salt: int
    file_bytes: int

    def encode(self) -> bytes:
        """The bytes on disk."""
        parts: list[int] = []
        for handle in (self.index, self.filter, self.properties, Handle(0, 0, 0)):
            parts += (handle.offset, handle.stored_bytes, handle.raw_bytes)
        checked = _FOOTER.pack(TABLE_MAGIC, FORMAT_VERSION, 0, *parts, self.salt, self.file_bytes, 0)[:-_CHECKSUM_BYTES]
        return checked + xxh3_64_intdigest(checked, self.salt).to_bytes(_CHECKSUM_BYTES, "little")

    @classmethod
    def decode(cls, data: bytes, salt: int) -> Self:
        """The footer of a file whose header has this salt; ValueError if these bytes are not one, StoreFormat if it is
        of another version.
        """
        if len(data) != TABLE_FOOTER_BYTES or data[:8] != TABLE_MAGIC:
            raise ValueError("no table footer")
        magic, version, flags, *parts, found_salt, file_bytes, checksum = _FOOTER.unpack(data)
        if xxh3_64_intdigest(data[:-_CHECKSUM_BYTES], salt) != checksum or found_salt != salt:
            raise ValueError("checksum of the footer does not match")
        _check_version(magic, version, flags)
        index, key_filter, properties = (Handle(*parts[i : i + 3]) for i in (0, 3, 6))
        return cls(index, key_filter, properties, salt, file_bytes)


def encode_header(salt: int) -> bytes:
    """The first bytes of a table file whose checksums are seeded with ``salt``."""
    checked = _HEADER.pack(TABLE_MAGIC, FORMAT_VERSION, 0, salt, 0)[:-_CHECKSUM_BYTES]
    return checked + xxh3_64_intdigest(checked).to_bytes(_CHECKSUM_BYTES, "little")


def decode_header(data: bytes) -> int:
    """The salt; ValueError if these bytes are not a table's header, StoreFormat if it is of another version."""
    if len(data) != TABLE_HEADER_BYTES or data[:8] != TABLE_MAGIC:
        raise ValueError("no table header")
    magic, version, flags, salt, checksum = _HEADER.unpack(data)
    if xxh3_64_intdigest(data[:-_CHECKSUM_BYTES]) != checksum:
        raise ValueError("checksum of the header does not match")
    _check_version(magic, version, flags)
    return int(salt)


def _check_version(magic: bytes, version: int, flags: int) -> None:
    if version != FORMAT_VERSION or flags != 0:
        raise StoreFormat(
            f"a table ({magic.decode()}) of format version {version}, flags {flags:#x}: "
            f"this program reads version {FORMAT_VERSION}"
        )


@dataclass(frozen=True, slots=True)
class TableProperties:
    """What a table holds, as counted by its writer."""

    entries: int
    """Entries, tombstones included."""
    tombstones: int
    imports: int
    expiring: int
    """Entries that have an expiry."""
    smallest: bytes
    """The first key."""
    largest: bytes
    """The last key."""
    min_lsn: int
    max_lsn: int
    raw_bytes: int
    """Keys and values, without what the format adds."""
    block_bytes: int
    """Data blocks before compression."""
    blocks: int
    """Data blocks."""
    file_bytes: int
    """The whole file."""

    def to_wire(self) -> dict[str, int | bytes]:
        """As a MessagePack-able map."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """From such a map, unknown names ignored; ValueError if it is not one."""
        if not isinstance(wire, dict):
            raise ValueError("properties are not a map")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = wire.get(field.name)
            kind = bytes if field.name in ("smallest", "largest") else int
            if not isinstance(value, kind):
                raise ValueError(f"property {field.name} is {value!r}")
            values[field.name] = value
        return cls(**values)

    def encode(self) -> bytes:
        """The bytes of the properties block; all but ``file_bytes``, which the footer has."""
        wire = self.to_wire()
        del wire["file_bytes"]
        data: bytes = msgpack.packb(wire)
        return data

    @classmethod
    def decode(cls, data: bytes, file_bytes: int) -> Self:
        """From the bytes of a properties block; ValueError if they are not one."""
        wire = msgpack.unpackb(data, raw=False, strict_map_key=True)
        return cls.from_wire({**wire, "file_bytes": file_bytes} if isinstance(wire, dict) else None)
