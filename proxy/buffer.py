"""A growing buffer of bytes that is filled range by range and emptied at once.

Invariant: the first ``_used`` bytes of ``_buffer`` are the content. Compiled, the rest is room to grow, so that an
append is one copy and no object; interpreted there is no rest.
"""

import cython

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING, PyByteArray_Resize
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcpy

_KEPT_BYTES_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)
_FIRST_BYTES = cython.declare(cython.Py_ssize_t, 4096)


@cython.cclass
class Buffer:
    """Bytes being collected."""

    def __init__(self) -> None:
        self._used = 0
        self._buffer = bytearray()

    def __len__(self) -> int:
        return self._used

    @cython.cfunc
    def append(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        """Append ``data[start:end]``. ValueError if ``data`` has no such range."""
        if start < 0 or start > end or end > len(data):
            raise ValueError(f"no range {start}:{end} in {len(data)} bytes")
        if cython.compiled:
            if end - start > len(self._buffer) - self._used:
                PyByteArray_Resize(self._buffer, 2 * max(self._used + end - start, _FIRST_BYTES))
            memcpy(PyByteArray_AS_STRING(self._buffer) + self._used, PyBytes_AS_STRING(data) + start, end - start)
        else:
            self._buffer += data[start:end]
        self._used += end - start

    @cython.cfunc
    def append_request_head(self, number: cython.uint) -> None:
        """Append the start of a request with msgid ``number``; method and params are to follow."""
        if cython.compiled:
            if len(self._buffer) - self._used < 7:
                PyByteArray_Resize(self._buffer, 2 * max(self._used + 7, _FIRST_BYTES))
            head: cython.p_uchar = cython.cast(cython.p_uchar, PyByteArray_AS_STRING(self._buffer)) + self._used
            head[0] = 0x94
            head[1] = 0
            head[2] = 0xCE
            head[3] = (number >> 24) & 0xFF
            head[4] = (number >> 16) & 0xFF
            head[5] = (number >> 8) & 0xFF
            head[6] = number & 0xFF
            self._used += 7
        else:
            self.append(b"\x94\x00\xce" + number.to_bytes(4, "big"), 0, 7)

    def cut(self, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
        """The content from ``start`` to ``end``. ValueError if there is no such range."""
        if start < 0 or start > end or end > self._used:
            raise ValueError(f"no range {start}:{end} in {self._used} bytes")
        return bytes(self._buffer[start:end])

    @cython.ccall
    def take(self) -> bytes:
        """The content; afterwards the buffer is empty."""
        data: bytes
        if cython.compiled:
            data = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(self._buffer), self._used)
            if len(self._buffer) > _KEPT_BYTES_MAX:
                self._buffer = bytearray()
        else:
            data = bytes(self._buffer)
            self._buffer.clear()
        self._used = 0
        return data
