"""What a scan's page is written into: rows as they cross the wire, or columns of which a process makes its own objects.

A writer takes the entry at a cursor by ``add`` and counts ``count`` entries and ``size`` bytes; the size of an entry is
the same in both forms, so pages end where they would in the other.
"""

from __future__ import annotations

import struct

import cython

from sherd.common.wire.encode import uint

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcpy
    from cython.cimports.sherd.shard.lsm.cursor import Cursor
else:
    from sherd.shard.lsm.cursor import Cursor

_BUFFER_BYTES = 64 << 10
_ROW_HEAD_BYTES = 4 + 1 + 5 + 1  # length, array header, key header, meta's array header
_COLUMN_HEAD_BYTES = 5  # an array header with a count of 32 bits


@cython.cclass
class PageWriter:
    """Base of both forms: bytes one after another in a growing buffer."""

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._end = 0
        self.count = 0
        self.size = 0

    @cython.cfunc
    def add(self, cursor: Cursor) -> object:
        """Append the entry at the cursor."""
        raise NotImplementedError

    @cython.cfunc
    def _reserve(self, needed: cython.Py_ssize_t) -> object:
        """Have room for so many more bytes."""
        if needed > len(self._buffer) - self._end:
            needed += self._end
            self._buffer.extend(bytes(max(needed, 2 * len(self._buffer)) - len(self._buffer)))
        return None

    @cython.cfunc
    def _put_byte(self, value: cython.uchar) -> object:
        self._buffer[self._end] = value
        self._end += 1
        return None

    @cython.cfunc
    def _put(self, data: bytes, at: cython.Py_ssize_t, size: cython.Py_ssize_t) -> object:
        if at < 0 or size < 0 or size > len(data) - at or size > len(self._buffer) - self._end:
            raise IndexError("a row beyond its buffer")
        if cython.compiled:
            memcpy(PyByteArray_AS_STRING(self._buffer) + self._end, PyBytes_AS_STRING(data) + at, size)
        else:
            self._buffer[self._end : self._end + size] = data[at : at + size]
        self._end += size
        return None

    @cython.ccall
    def take(self) -> bytes:
        """All that was written."""
        return bytes(memoryview(self._buffer)[: self._end])


@cython.final
@cython.cclass
class RowWriter(PageWriter):
    """Rows as ``scan.Page`` has them."""

    def __init__(self, keys_only: bool, meta: bool, now_ms: cython.ulonglong) -> None:
        PageWriter.__init__(self)
        self._keys_only = keys_only
        self._meta = meta
        self._now_ms = now_ms

    @cython.cfunc
    def add(self, cursor: Cursor) -> object:
        key: bytes = cursor.key
        tail: bytes = b""
        if self._meta and not self._keys_only:
            left: bytes = b"\xc0"
            if cursor.expiry_ms:
                left = b"\xcb" + struct.pack(">d", (cursor.expiry_ms - self._now_ms) / 1000)
            tail = uint(cursor.lsn) + left
        value_len: cython.Py_ssize_t = 0 if self._keys_only else cursor.value_len
        self._reserve(_ROW_HEAD_BYTES + len(key) + value_len + len(tail))
        begin: cython.Py_ssize_t = self._end
        self._end += 4
        if not self._keys_only:
            self._put_byte(0x92)
        self._put_key(key)
        if not self._keys_only:
            if self._meta:
                self._put_byte(0x93)
            self._put(cursor.value_source, cursor.value_at, value_len)
            self._put(tail, 0, len(tail))
        row_len: cython.Py_ssize_t = self._end - begin - 4
        i: cython.Py_ssize_t
        for i in range(4):
            self._buffer[begin + i] = (row_len >> (8 * i)) & 0xFF
        self.count += 1
        self.size = self._end
        return None

    @cython.cfunc
    def _put_key(self, key: bytes) -> object:
        """The key as bin; keys are at most 64 KiB - 1 long."""
        size: cython.Py_ssize_t = len(key)
        if size < 256:
            self._put_byte(0xC4)
        else:
            self._put_byte(0xC5)
            self._put_byte((size >> 8) & 0xFF)
        self._put_byte(size & 0xFF)
        self._put(key, 0, size)
        return None


@cython.final
@cython.cclass
class ColumnWriter(PageWriter):
    """``keys`` as a list, and what ``take`` returns: all values as one MessagePack array, decoded in one go."""

    def __init__(self, keys_only: bool) -> None:
        PageWriter.__init__(self)
        self.keys: list[bytes] = []
        self._keys_only = keys_only
        self._end = _COLUMN_HEAD_BYTES

    @cython.cfunc
    def add(self, cursor: Cursor) -> object:
        key: bytes = cursor.key
        self.keys.append(key)
        self.count += 1
        self.size += 6 + len(key) + (len(key) > 255)  # as much as a RowWriter's row has around it
        if not self._keys_only:
            self._reserve(cursor.value_len)
            self._put(cursor.value_source, cursor.value_at, cursor.value_len)
            self.size += 1 + cursor.value_len
        return None

    @cython.ccall
    def take(self) -> bytes:
        self._buffer[:_COLUMN_HEAD_BYTES] = struct.pack(">BI", 0xDD, 0 if self._keys_only else self.count)
        return bytes(memoryview(self._buffer)[: self._end])
