"""The bytes of requests on their way out: written into memory that is allocated once.

Invariant: the first ``used`` bytes of ``_data`` are the content. ``reserve`` makes room; the other methods need that
room to be there, and raise IndexError rather than write beyond it.
"""

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcpy

FIRST_BYTES = 1 << 16
KEY_BYTES = 16


@cython.final
@cython.cclass
class Outgoing:
    """Requests being encoded."""

    def __init__(self) -> None:
        self._data = bytearray(FIRST_BYTES)
        self.used = 0

    @cython.cfunc
    def reserve(self, count: cython.Py_ssize_t) -> None:
        """Make room for ``count`` bytes more."""
        if count <= len(self._data) - self.used:
            return
        larger = bytearray(2 * (self.used + count))
        larger[: self.used] = self._data[: self.used]
        self._data = larger

    @cython.cfunc
    def put(self, byte: cython.uint) -> None:
        """Append one byte."""
        self._data[self.used] = byte
        self.used += 1

    @cython.cfunc
    def put_range(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        """Append ``data[start:end]``."""
        if start < 0 or start > end or end > len(data) or end - start > len(self._data) - self.used:
            raise IndexError(f"no room for, or no range {start}:{end} in {len(data)} bytes")
        if end == start:
            return
        if cython.compiled:
            memcpy(cython.address(self._data[self.used]), PyBytes_AS_STRING(data) + start, end - start)
        else:
            self._data[self.used : self.used + end - start] = data[start:end]
        self.used += end - start

    @cython.cfunc
    def put_bytes(self, data: bytes) -> None:
        """Append all of ``data``."""
        self.put_range(data, 0, len(data))

    @cython.cfunc
    def put_big(self, number: cython.ulonglong, width: cython.int) -> None:
        """Append ``number`` as ``width`` bytes, the highest first."""
        while width > 0:
            width -= 1
            self.put((number >> (8 * width)) & 0xFF)

    @cython.cfunc
    def put_bin_head(self, size: cython.Py_ssize_t) -> None:
        """Append what MessagePack puts before ``size`` bytes of type bin."""
        if size < 1 << 8:
            self.put(0xC4)
            self.put(size)
        elif size < 1 << 16:
            self.put(0xC5)
            self.put_big(size, 2)
        else:
            self.put(0xC6)
            self.put_big(size, 4)

    @cython.cfunc
    def put_digits(self, number: cython.ulonglong, width: cython.Py_ssize_t) -> None:
        """Append ``number`` as ``width`` decimal digits, filled up with zeros."""
        at: cython.Py_ssize_t = self.used + width
        if width > len(self._data) - self.used:
            raise IndexError(f"no room for {width} digits")
        while at > self.used:
            at -= 1
            self._data[at] = 48 + number % 10
            number //= 10
        self.used += width

    @cython.cfunc
    def put_decimal(self, number: cython.ulonglong) -> None:
        """Append ``number`` in decimal digits, as few as it takes."""
        width: cython.Py_ssize_t = 1
        rest: cython.ulonglong = number // 10
        while rest > 0:
            rest //= 10
            width += 1
        self.put_digits(number, width)

    def content(self) -> bytes:
        """What has been appended."""
        return bytes(self._data[: self.used])
