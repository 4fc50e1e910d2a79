"""Finding one's way in MessagePack bytes without decoding values.

Positions index ``data``; ``end`` bounds what may be read, and every function checks it before it reads. Results are
positions or counts, and -1 where the bytes at ``pos`` are not what was asked for.
"""

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize


@cython.cfunc
def piece(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """``data[start:end]``, made without a slice object. ValueError if there is no such range."""
    if start < 0 or start > end or end > len(data):
        raise ValueError(f"no range {start}:{end} in {len(data)} bytes")
    if cython.compiled:
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)
    else:
        return data[start:end]


@cython.cfunc
def big_endian(data: bytes, pos: cython.Py_ssize_t, size: cython.Py_ssize_t) -> cython.ulonglong:
    """The unsigned big-endian integer of ``size`` bytes at ``pos``."""
    value: cython.ulonglong = 0
    byte: cython.ulonglong
    i: cython.Py_ssize_t
    for i in range(pos, pos + size):
        byte = data[i]
        value = (value << 8) | byte
    return value


@cython.cfunc
def skip(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, depth: cython.int) -> cython.Py_ssize_t:
    """The position after the value at ``pos``; -1 if it is malformed, cut off, or nests containers over ``depth``."""
    if pos < 0 or pos >= end or end > len(data):
        return -1
    head: cython.uint = data[pos]
    pos += 1
    if head <= 0x7F or head >= 0xE0 or head == 0xC0 or head == 0xC2 or head == 0xC3:
        return pos
    size: cython.ulonglong = 0
    items: cython.ulonglong = 0
    width: cython.Py_ssize_t = 0
    if head <= 0x8F:
        items = 2 * (head & 0x0F)
    elif head <= 0x9F:
        items = head & 0x0F
    elif head <= 0xBF:
        size = head & 0x1F
    elif head == 0xC1:
        return -1
    elif head <= 0xC9:  # bin 8..32, ext 8..32
        width = 1 << ((head - 0xC4) % 3)
        if width > end - pos:
            return -1
        size = big_endian(data, pos, width)
        if head >= 0xC7:
            size += 1
    elif head <= 0xCB:  # float 32, 64
        size = 4 << (head - 0xCA)
    elif head <= 0xD3:  # uint 8..64, int 8..64
        size = 1 << ((head - 0xCC) & 3)
    elif head <= 0xD8:  # fixext 1..16, and its type
        size = (1 << (head - 0xD4)) + 1
    elif head <= 0xDB:  # str 8..32
        width = 1 << (head - 0xD9)
        if width > end - pos:
            return -1
        size = big_endian(data, pos, width)
    else:  # array 16, 32, map 16, 32
        width = 2 << (head & 1)
        if width > end - pos:
            return -1
        items = big_endian(data, pos, width)
        if head >= 0xDE:
            items *= 2
    pos += width
    if head <= 0x9F or head >= 0xDC:
        if depth <= 0 or items > cython.cast(cython.ulonglong, end - pos):
            return -1
        while items > 0:
            pos = skip(data, pos, end, depth - 1)
            if pos < 0:
                return -1
            items -= 1
        return pos
    if size > cython.cast(cython.ulonglong, end - pos):
        return -1
    return pos + cython.cast(cython.Py_ssize_t, size)


@cython.cfunc
def payload_start(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the bytes of the str or bin at ``pos`` begin; they run to the end of the value."""
    if pos < 0 or pos >= end or end > len(data):
        return -1
    head: cython.uint = data[pos]
    if 0xA0 <= head <= 0xBF:
        return pos + 1
    if 0xC4 <= head <= 0xC6:
        return pos + 1 + (1 << (head - 0xC4))
    if 0xD9 <= head <= 0xDB:
        return pos + 1 + (1 << (head - 0xD9))
    return -1


@cython.cfunc
def items_start(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the first item of the array at ``pos`` begins."""
    if pos < 0 or pos >= end or end > len(data):
        return -1
    head: cython.uint = data[pos]
    if 0x90 <= head <= 0x9F:
        return pos + 1
    if head == 0xDC:
        return pos + 3
    if head == 0xDD:
        return pos + 5
    return -1


@cython.cfunc
def item_count(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """How many items the array at ``pos`` declares."""
    start: cython.Py_ssize_t = items_start(data, pos, end)
    if start < 0 or start > end:
        return -1
    if start == pos + 1:
        return data[pos] & 0x0F
    return cython.cast(cython.Py_ssize_t, big_endian(data, pos + 1, start - pos - 1))


@cython.cfunc
def pairs_start(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the first key of the map at ``pos`` begins."""
    if pos < 0 or pos >= end or end > len(data):
        return -1
    head: cython.uint = data[pos]
    if 0x80 <= head <= 0x8F:
        return pos + 1
    if head == 0xDE:
        return pos + 3
    if head == 0xDF:
        return pos + 5
    return -1


@cython.cfunc
def pair_count(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """How many pairs the map at ``pos`` declares."""
    start: cython.Py_ssize_t = pairs_start(data, pos, end)
    if start < 0 or start > end:
        return -1
    if start == pos + 1:
        return data[pos] & 0x0F
    return cython.cast(cython.Py_ssize_t, big_endian(data, pos + 1, start - pos - 1))


def value_end(data: bytes, pos: int, depth: int = 128) -> int:
    """``skip`` for callers in Python: the position after the value at ``pos``, -1 if there is no well-formed one."""
    return skip(data, pos, len(data), depth)


def payload(data: bytes, pos: int) -> bytes | None:
    """The bytes of the str or bin at ``pos``, or None if there is none."""
    end: cython.Py_ssize_t = skip(data, pos, len(data), 0)
    start: cython.Py_ssize_t = payload_start(data, pos, len(data))
    if start < 0 or end < start:
        return None
    return data[start:end]
