"""Reading the operations of a record's body. Layout: FORMAT.md, "Record body".

Whatever the bytes are, reading ends with operations inside the body or with ``Corruption``: every length is compared
with what is left before it is used, and a number that could have been written shorter is refused. A body's checksum is
checked where the body is read from disk or link, before it comes here.
"""

from typing import NamedTuple

import cython

from sherd.common.errors import Corruption

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.sherd.shard.lsm.format import (
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_PUT,
        RECORD_BODY_HEAD_BYTES,
        VARINT_BYTES_MAX,
    )
else:
    from sherd.shard.lsm.format import (
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_PUT,
        RECORD_BODY_HEAD_BYTES,
        VARINT_BYTES_MAX,
    )


class Op(NamedTuple):
    """One logged operation. ``value`` is None for a delete, ``expiry_ms`` 0 = never, ``version`` 0 but for imports."""

    kind: int
    key: bytes
    expiry_ms: int
    version: int
    value: bytes | None


class RecordBody(NamedTuple):
    """A whole body: operation ``i`` has LSN ``first_lsn + i``; ``time_ms`` is the leader's time."""

    term: int
    first_lsn: int
    time_ms: int
    ops: list[Op]


@cython.final
@cython.cclass
class OpReader:
    """The operations of one body, one at a time: ``while ops.next(): ...`` with the current one in the attributes.

    ``term``, ``first_lsn``, ``count`` and ``time_ms`` are the body's own; ``kind``, ``lsn``, ``key``, ``expiry_ms``,
    ``version`` and ``value`` (None for a delete) the current operation's, ``key_at`` and ``value_at`` where in the body
    they begin. Raises Corruption for a malformed body.
    """

    def __init__(self, body: bytes) -> None:
        if len(body) < RECORD_BODY_HEAD_BYTES:
            raise Corruption(f"record body of {len(body)} bytes is shorter than its head")
        self._body = body
        self._end = len(body)
        self.term = self._number(0, 8)
        self.first_lsn = self._number(8, 8)
        self.count = self._number(16, 4)
        self.time_ms = self._number(20, 8)
        self._pos = RECORD_BODY_HEAD_BYTES
        self._left = self.count
        self.lsn = 0
        self.kind = 0
        self.expiry_ms = 0
        self.version = 0
        self.key_at = 0
        self.value_at = 0
        self.key = b""
        self.value: bytes | None = None

    @cython.ccall
    def next(self) -> cython.bint:
        """Go to the next operation; False after the last."""
        if self._left == 0:
            if self._pos != self._end:
                raise Corruption(f"{self._end - self._pos} bytes follow a record's last operation")
            return False
        self.lsn = self.first_lsn + (self.count - self._left)
        kind: cython.uint = self._byte()
        flagged: cython.bint = (kind & KIND_HAS_EXPIRY) != 0
        kind &= ~KIND_HAS_EXPIRY
        if kind != KIND_PUT and kind != KIND_DELETE and kind != KIND_IMPORT:
            raise Corruption(f"operation of unknown kind {kind} at byte {self._pos - 1} of a record body")
        if flagged and kind == KIND_DELETE:
            raise Corruption(f"a delete that expires at byte {self._pos - 1} of a record body")
        self.kind = kind
        size: cython.Py_ssize_t = self._length()
        if size == 0 or size > KEY_BYTES_MAX:
            raise Corruption(f"key of {size} bytes at byte {self._pos} of a record body")
        self.key_at = self._pos
        self.key = self._bytes(size)
        self.expiry_ms = self._word() if flagged else 0
        if flagged and self.expiry_ms == 0:
            raise Corruption(f"expiry of zero before byte {self._pos} of a record body")
        self.version = self._word() if kind == KIND_IMPORT else 0
        self.value = None
        if kind != KIND_DELETE:
            size = self._length()
            self.value_at = self._pos
            self.value = self._bytes(size)
        self._left -= 1
        return True

    @cython.cfunc
    @cython.inline
    def _byte(self) -> cython.uint:
        if self._pos >= self._end:
            raise Corruption(f"record body ends at byte {self._end} within an operation")
        value: cython.uint = self._body[self._pos]
        self._pos += 1
        return value

    @cython.cfunc
    def _number(self, pos: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.ulonglong:
        body: bytes = self._body
        value: cython.ulonglong = 0
        octet: cython.ulonglong
        i: cython.Py_ssize_t
        for i in range(width):
            octet = body[pos + i]
            value |= octet << (8 * i)
        return value

    @cython.cfunc
    def _word(self) -> cython.ulonglong:
        """The u64 at the position, which moves past it."""
        if self._end - self._pos < 8:
            raise Corruption(f"record body ends at byte {self._end} within an operation")
        self._pos += 8
        return self._number(self._pos - 8, 8)

    @cython.cfunc
    def _length(self) -> cython.Py_ssize_t:
        """The varint at the position, which moves past it; not compared with what is left."""
        octet: cython.ulonglong = self._byte()
        value: cython.ulonglong = octet & 0x7F
        shift: cython.int = 7
        while octet & 0x80:
            octet = self._byte()
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet == 0 or shift > 7 * VARINT_BYTES_MAX:
                raise Corruption(f"length not in its shortest form before byte {self._pos} of a record body")
        return value

    @cython.cfunc
    @cython.inline
    def _bytes(self, size: cython.Py_ssize_t) -> bytes:
        """The next ``size`` bytes as an object of their own."""
        if size > self._end - self._pos:
            raise Corruption(f"{size} bytes announced, {self._end - self._pos} left in a record body")
        pos: cython.Py_ssize_t = self._pos
        self._pos = pos + size
        if cython.compiled:
            return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self._body) + pos, size)
        else:
            return self._body[pos : pos + size]


def decode_body(body: bytes) -> RecordBody:
    """The whole of ``body``, checked to its last byte; Corruption if it is malformed."""
    reader: OpReader = OpReader(body)
    ops: list[Op] = []
    while reader.next():
        ops.append(Op(reader.kind, reader.key, reader.expiry_ms, reader.version, reader.value))
    return RecordBody(reader.term, reader.first_lsn, reader.time_ms, ops)
