"""Pages of a scan: live entries off a cursor, encoded once into the bytes that cross the wire."""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import cython

from sherd.common.wire.encode import uint

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcpy
    from cython.cimports.sherd.shard.lsm.cursor import Cursor, compare_keys
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
else:
    from sherd.shard.lsm.cursor import Cursor, compare_keys
    from sherd.shard.lsm.format import KIND_DELETE

_BUFFER_BYTES = 64 << 10
_ROW_HEAD_BYTES = 4 + 1 + 5 + 1  # length, array header, key header, meta's array header


class Page(NamedTuple):
    """``rows``: per row its length as u32 little-endian, then the row as MessagePack: ``[key, value]``, the key alone,
    or ``[key, [value, version, seconds left or nil]]``. ``count`` rows. ``resume``: where the next page begins (going
    forward: the start, inclusive; in reverse: the end, exclusive), None when the range is exhausted.
    """

    rows: bytes
    count: int  # type: ignore[assignment]
    resume: bytes | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page is to hold; bounds None are open. It ends at whichever limit is met first, but holds at least one row
    if there is one within ``examine_max`` entries looked at.
    """

    start: bytes | None
    end: bytes | None
    reverse: bool
    limit: int
    bytes_max: int
    keys_only: bool
    meta: bool
    examine_max: int


@cython.final
@cython.cclass
class _RowWriter:
    """Rows one after another in a growing buffer."""

    _buffer: bytearray
    _size: cython.Py_ssize_t
    _keys_only: cython.bint
    _meta: cython.bint
    _now_ms: cython.ulonglong

    def __init__(self, keys_only: cython.bint, meta: cython.bint, now_ms: cython.ulonglong) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._size = 0
        self._keys_only = keys_only
        self._meta = meta
        self._now_ms = now_ms

    @cython.cfunc
    def add(self, cursor: Cursor) -> cython.Py_ssize_t:
        """Append the entry at the cursor; returns the size of all rows."""
        key: bytes = cursor.key
        tail: bytes = b""
        if self._meta and not self._keys_only:
            left: bytes = b"\xc0"
            if cursor.expiry_ms:
                left = b"\xcb" + struct.pack(">d", (cursor.expiry_ms - self._now_ms) / 1000)
            tail = uint(cursor.lsn) + left
        value_len: cython.Py_ssize_t = 0 if self._keys_only else cursor.value_len
        needed: cython.Py_ssize_t = self._size + _ROW_HEAD_BYTES + len(key) + value_len + len(tail)
        if needed > len(self._buffer):
            self._buffer.extend(bytes(max(needed, 2 * len(self._buffer)) - len(self._buffer)))
        begin: cython.Py_ssize_t = self._size
        self._size += 4
        if not self._keys_only:
            self._put_byte(0x92)
        self._put_key(key)
        if not self._keys_only:
            if self._meta:
                self._put_byte(0x93)
            self._put(cursor.value_source, cursor.value_at, value_len)
            self._put(tail, 0, len(tail))
        row_len: cython.Py_ssize_t = self._size - begin - 4
        i: cython.Py_ssize_t
        for i in range(4):
            self._buffer[begin + i] = (row_len >> (8 * i)) & 0xFF
        return self._size

    @cython.cfunc
    def _put_byte(self, value: cython.uchar) -> None:
        self._buffer[self._size] = value
        self._size += 1

    @cython.cfunc
    def _put_key(self, key: bytes) -> None:
        """The key as bin; keys are at most 64 KiB - 1 long."""
        size: cython.Py_ssize_t = len(key)
        if size < 256:
            self._put_byte(0xC4)
        else:
            self._put_byte(0xC5)
            self._put_byte((size >> 8) & 0xFF)
        self._put_byte(size & 0xFF)
        self._put(key, 0, size)

    @cython.cfunc
    def _put(self, data: bytes, at: cython.Py_ssize_t, size: cython.Py_ssize_t) -> None:
        if at < 0 or size < 0 or size > len(data) - at or size > len(self._buffer) - self._size:
            raise IndexError("a row beyond its buffer")
        if cython.compiled:
            memcpy(PyByteArray_AS_STRING(self._buffer) + self._size, PyBytes_AS_STRING(data) + at, size)
        else:
            self._buffer[self._size : self._size + size] = data[at : at + size]
        self._size += size

    @cython.cfunc
    def take(self) -> bytes:
        """All rows."""
        return bytes(memoryview(self._buffer)[: self._size])


@cython.cfunc
def _place(cursor: Cursor, start: bytes | None, end: bytes | None, reverse: cython.bint) -> None:
    """Put the cursor at the first entry of the range in the direction of travel."""
    if reverse:
        if end is None:
            cursor.seek_last()
        else:
            cursor.seek_before(end)
    elif start is None:
        cursor.seek_first()
    else:
        cursor.seek(start)


@cython.cfunc
@cython.inline
def _within(cursor: Cursor, start: bytes | None, end: bytes | None, reverse: cython.bint) -> cython.bint:
    """Whether the cursor is at an entry of the range."""
    if not cursor.valid:
        return False
    if reverse:
        return start is None or compare_keys(cursor.key, start) >= 0
    return end is None or compare_keys(cursor.key, end) < 0


@cython.cfunc
@cython.inline
def _live(cursor: Cursor, now_ms: cython.ulonglong) -> cython.bint:
    return cursor.kind != KIND_DELETE and (cursor.expiry_ms == 0 or cursor.expiry_ms > now_ms)


def scan_page(cursor: Cursor, request: PageRequest, now_ms: cython.ulonglong) -> Page:
    """One page off ``cursor``, which shows every entry of the range."""
    start: bytes | None = request.start
    end: bytes | None = request.end
    reverse: cython.bint = request.reverse
    limit: cython.Py_ssize_t = request.limit
    bytes_max: cython.Py_ssize_t = request.bytes_max
    left: cython.Py_ssize_t = request.examine_max
    writer: _RowWriter = _RowWriter(request.keys_only, request.meta, now_ms)
    count: cython.Py_ssize_t = 0
    size: cython.Py_ssize_t = 0
    last: bytes = b""
    _place(cursor, start, end, reverse)
    while _within(cursor, start, end, reverse):
        if count >= limit or left <= 0 or (count > 0 and size >= bytes_max):
            return Page(writer.take(), count, last if reverse else cursor.key)
        if _live(cursor, now_ms):
            size = writer.add(cursor)
            count += 1
        left -= 1
        last = cursor.key
        if reverse:
            cursor.prev()
        else:
            cursor.next()
    return Page(writer.take(), count, None)


def count_page(
    cursor: Cursor, start: bytes | None, end: bytes | None, examine_max: cython.Py_ssize_t, now_ms: cython.ulonglong
) -> tuple[int, bytes | None]:
    """(live entries, the start to go on from or None) within the first ``examine_max`` entries of the range."""
    count: cython.Py_ssize_t = 0
    left: cython.Py_ssize_t = examine_max
    _place(cursor, start, end, False)
    while _within(cursor, start, end, False):
        if left <= 0:
            return count, cursor.key
        if _live(cursor, now_ms):
            count += 1
        left -= 1
        cursor.next()
    return count, None
