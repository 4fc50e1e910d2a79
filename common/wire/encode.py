"""Small encoders: headers and whole replies, around values that stay as their bytes are."""

import cython
import msgpack

from sherd.common.errors import WireError

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize

REPLY = b"\x94\x01"
NIL = b"\xc0"
TRUE = b"\xc3"
FALSE = b"\xc2"


@cython.ccall
def array_header(count: cython.Py_ssize_t) -> bytes:
    """The header of an array of ``count`` items."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


@cython.ccall
def bin_header(size: cython.Py_ssize_t) -> bytes:
    """The header of a bin of ``size`` bytes."""
    if size < 1 << 8:
        return bytes((0xC4, size))
    if size < 1 << 16:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


@cython.ccall
def uint(value: cython.ulonglong) -> bytes:
    """An unsigned integer in its shortest form."""
    if value < 1 << 7:
        return bytes((value,))
    if value < 1 << 8:
        return bytes((0xCC, value))
    if value < 1 << 16:
        return b"\xcd" + value.to_bytes(2, "big")
    if value < 1 << 32:
        return b"\xce" + value.to_bytes(4, "big")
    if cython.compiled:  # versions: every write answers with one
        found: bytes = PyBytes_FromStringAndSize(cython.NULL, 9)
        raw: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(found))
        raw[0] = 0xCF
        i: cython.int
        for i in range(8):
            raw[1 + i] = (value >> (8 * (7 - i))) & 0xFF
        return found
    else:
        return b"\xcf" + value.to_bytes(8, "big")


@cython.cfunc
def reply_head(msgid: bytes) -> bytes:
    """The start of a response without error; the result's bytes follow."""
    return REPLY + msgid + NIL


def result_reply(msgid: bytes, result: bytes) -> bytes:
    """A whole response with an encoded result."""
    return b"".join((REPLY, msgid, NIL, result))


def error_body(error: WireError, as_string: bool = False) -> bytes:
    """The error and nil-result fields of a response; ``as_string`` for clients that take errors as text only."""
    wire: object = f"{error.name} {error.message}".rstrip() if as_string else error.wire()
    packed: bytes = msgpack.packb(wire)
    return packed + NIL


def error_reply(msgid: bytes, error: WireError, as_string: bool = False) -> bytes:
    """A whole response with an error."""
    return b"".join((REPLY, msgid, error_body(error, as_string)))


def request(msgid: int, method: str, params: object) -> bytes:
    """A whole request, for callers off the hot path."""
    packed: bytes = msgpack.packb([0, msgid, method, params])
    return packed
