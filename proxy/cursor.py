"""The cursor of a scan: what is left of it, in bytes that mean nothing to the client and need no state here.

    version      u8      1
    flags        u8      1 reverse, 2 keys_only, 4 meta, 8 has start, 16 has end
    start size   u16     little-endian, as all
    end size     u16
    start, end           the range that is left: of a forward scan its position is ``start``, of a reverse one ``end``
    checksum     u64     xxh3_64 of all before

The position is a key bound and nothing of a shard's, so a cursor stays valid across restarts and moves of partitions.
"""

import struct
from dataclasses import dataclass

import xxhash

from sherd.common.errors import BadRequest
from sherd.proxy.params import BOUND_BYTES_MAX

VERSION = 1
_HEAD = struct.Struct("<BBHH")
_TAIL = struct.Struct("<Q")
_REVERSE, _KEYS_ONLY, _META, _HAS_START, _HAS_END = 1, 2, 4, 8, 16
CURSOR_BYTES_MAX = _HEAD.size + 2 * BOUND_BYTES_MAX + _TAIL.size


@dataclass(frozen=True, slots=True)
class Cursor:
    """A scan that goes on: ``[start, end)`` is left of it, None being no bound."""

    start: bytes | None
    end: bytes | None
    reverse: bool = False
    keys_only: bool = False
    meta: bool = False

    def encode(self) -> bytes:
        """The opaque bytes."""
        flags = (
            (_REVERSE if self.reverse else 0)
            | (_KEYS_ONLY if self.keys_only else 0)
            | (_META if self.meta else 0)
            | (_HAS_START if self.start is not None else 0)
            | (_HAS_END if self.end is not None else 0)
        )
        start, end = self.start or b"", self.end or b""
        body = _HEAD.pack(VERSION, flags, len(start), len(end)) + start + end
        return body + _TAIL.pack(xxhash.xxh3_64_intdigest(body))


def decode_cursor(data: bytes) -> Cursor:
    """The cursor in bytes that ``encode`` gave. BadRequest if they are anything else."""
    if not _HEAD.size + _TAIL.size <= len(data) <= CURSOR_BYTES_MAX:
        raise BadRequest("cursor is damaged: it must be one that an earlier scan returned")
    body, checksum = data[: -_TAIL.size], _TAIL.unpack(data[-_TAIL.size :])[0]
    if xxhash.xxh3_64_intdigest(body) != checksum:
        raise BadRequest("cursor is damaged: it must be one that an earlier scan returned")
    version, flags, start_size, end_size = _HEAD.unpack_from(body)
    if version != VERSION:
        raise BadRequest(f"cursor is of version {version}, which this server does not know")
    if _HEAD.size + start_size + end_size != len(body):
        raise BadRequest("cursor is damaged: its sizes do not add up")
    middle = _HEAD.size + start_size
    return Cursor(
        body[_HEAD.size : middle] if flags & _HAS_START else None,
        body[middle:] if flags & _HAS_END else None,
        bool(flags & _REVERSE),
        bool(flags & _KEYS_ONLY),
        bool(flags & _META),
    )
