"""WAL records: staging operations into them, framing them, verifying their headers. Layout: FORMAT.md, "Record".

A record is the unit that is whole or absent after a crash. Invariants: operation ``i`` of a record has LSN
``first_lsn + i``; a client's batch lies within one record; what the body says does not depend on the segment it lies
in (followers get it unchanged), while the header's checksum is seeded with the segment's salt, so that a record left
over from a reused block of another segment never verifies.
"""

import cython
from xxhash import xxh3_64_intdigest

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.cpython.memoryview import PyMemoryView_FromMemory
    from cython.cimports.libc.string import memcpy
    from cython.cimports.sherd.shard.lsm.format import (
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_PUT,
        RECORD_BODY_HEAD_BYTES,
        RECORD_CHECKED_BYTES,
        RECORD_HEADER_BYTES,
        RECORD_SPLIT_BYTES,
        RECORD_TERM,
        STAGE_OVERHEAD_BYTES,
    )
else:
    from sherd.shard.lsm.format import (
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_PUT,
        RECORD_BODY_HEAD_BYTES,
        RECORD_CHECKED_BYTES,
        RECORD_HEADER_BYTES,
        RECORD_SPLIT_BYTES,
        RECORD_TERM,
        STAGE_OVERHEAD_BYTES,
    )

_BUFFER_BYTES = 256 << 10
_BUFFER_KEPT_BYTES = 4 << 20
_RECORD_BODY_BYTES_MAX = cython.declare(cython.Py_ssize_t, (1 << 32) - 1)
_PADDING = bytes(16)


@cython.cfunc
@cython.inline
@cython.boundscheck(False)
@cython.wraparound(False)
def _store(
    buffer: bytearray, pos: cython.Py_ssize_t, value: cython.ulonglong, width: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write ``value`` as ``width`` little-endian bytes; returns the position after them."""
    if pos < 0 or width > len(buffer) - pos:
        raise IndexError("a store beyond the staging buffer")
    i: cython.Py_ssize_t
    for i in range(width):
        buffer[pos + i] = (value >> (8 * i)) & 0xFF
    return pos + width


@cython.cfunc
@cython.inline
def _store_varint(buffer: bytearray, pos: cython.Py_ssize_t, value: cython.ulonglong) -> cython.Py_ssize_t:
    """Write ``value`` as a varint; returns the position after it."""
    while value > 0x7F:
        buffer[pos] = (value & 0x7F) | 0x80
        value >>= 7
        pos += 1
    buffer[pos] = value
    return pos + 1


@cython.cfunc
@cython.inline
def _store_bytes(buffer: bytearray, pos: cython.Py_ssize_t, data: bytes) -> cython.Py_ssize_t:
    """Copy ``data``; returns the position after it."""
    size: cython.Py_ssize_t = len(data)
    if pos < 0 or size > len(buffer) - pos:
        raise IndexError("a store beyond the staging buffer")
    if cython.compiled:
        memcpy(PyByteArray_AS_STRING(buffer) + pos, PyBytes_AS_STRING(data), size)
    else:
        buffer[pos : pos + size] = data
    return pos + size


@cython.cfunc
def _checksum(
    buffer: bytearray, pos: cython.Py_ssize_t, size: cython.Py_ssize_t, seed: cython.ulonglong
) -> cython.ulonglong:
    """xxh3_64 of a part of the buffer, without copying it."""
    if cython.compiled:
        return xxh3_64_intdigest(PyMemoryView_FromMemory(PyByteArray_AS_STRING(buffer) + pos, size, 0x100), seed)
    else:
        return xxh3_64_intdigest(memoryview(buffer)[pos : pos + size], seed)


@cython.cfunc
@cython.inline
def _load(buffer: bytearray, pos: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.ulonglong:
    """``width`` little-endian bytes as a number."""
    value: cython.ulonglong = 0
    i: cython.Py_ssize_t
    for i in range(width):
        value |= cython.cast(cython.ulonglong, buffer[pos + i]) << (8 * i)
    return value


@cython.final
@cython.cclass
class RecordBuilder:
    """The operations staged since the last write, laid out as the records they will be.

    ``next_lsn`` is the LSN the next operation gets, ``op_count`` the operations staged, ``bytes_staged`` exactly what
    ``seal`` would return now. One operation adds at most ``STAGE_OVERHEAD_BYTES`` beside its key and value. An append
    that raises has staged nothing.
    """

    def __init__(self, next_lsn: cython.ulonglong) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self.next_lsn = next_lsn
        self.op_count = 0
        self.bytes_staged = 0
        self._start = 0  # of the open record
        self._end = 0  # of what is staged; equal to _start: no record is open
        self._record_first_lsn = 0
        self._grouped = False

    @cython.ccall
    def reset(self, next_lsn: cython.ulonglong) -> object:
        """Go on at another LSN; only when nothing is staged (ValueError)."""
        if self.bytes_staged or self._grouped:
            raise ValueError("operations are staged; the next LSN cannot change")
        self.next_lsn = next_lsn
        return None

    @cython.ccall
    def begin_group(self) -> object:
        """What is appended until ``end_group`` goes into one record, whatever its size."""
        if self._grouped:
            raise ValueError("a group is open")
        self._grouped = True
        if self._end - self._start >= RECORD_SPLIT_BYTES:
            self._close_record()
        return None

    @cython.ccall
    def end_group(self) -> object:
        """Close the group that ``begin_group`` opened."""
        if not self._grouped:
            raise ValueError("no group is open")
        self._grouped = False
        return None

    @cython.ccall
    @cython.exceptval(0)
    def append_put(self, key: bytes, value: bytes, expiry_ms: cython.ulonglong) -> cython.ulonglong:
        """Stage a put; ``expiry_ms`` 0 = never expires. Returns its LSN."""
        return self._append(KIND_PUT, key, value, expiry_ms, 0)

    @cython.ccall
    @cython.exceptval(0)
    def append_delete(self, key: bytes) -> cython.ulonglong:
        """Stage a delete. Returns its LSN."""
        return self._append(KIND_DELETE, key, b"", 0, 0)

    @cython.ccall
    @cython.exceptval(0)
    def append_import(
        self, key: bytes, value: bytes, expiry_ms: cython.ulonglong, version: cython.ulonglong
    ) -> cython.ulonglong:
        """Stage an entry moved here from another shard, where ``version`` was its LSN. Returns its LSN here."""
        return self._append(KIND_IMPORT, key, value, expiry_ms, version)

    @cython.cfunc
    @cython.exceptval(0)
    def _append(
        self,
        kind: cython.uint,
        key: bytes,
        value: bytes,
        expiry_ms: cython.ulonglong,
        version: cython.ulonglong,
    ) -> cython.ulonglong:
        key_size: cython.Py_ssize_t = len(key)
        value_size: cython.Py_ssize_t = len(value)
        if key_size == 0 or key_size > KEY_BYTES_MAX:
            raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes, not {key_size}")
        self._make_room(key_size + value_size)
        buffer: bytearray = self._buffer
        pos: cython.Py_ssize_t = self._end
        if pos == self._start:
            pos += RECORD_HEADER_BYTES + RECORD_BODY_HEAD_BYTES
            self._record_first_lsn = self.next_lsn
        buffer[pos] = kind | KIND_HAS_EXPIRY if expiry_ms else kind
        pos = _store_varint(buffer, pos + 1, key_size)
        pos = _store_bytes(buffer, pos, key)
        if expiry_ms:
            pos = _store(buffer, pos, expiry_ms, 8)
        if kind == KIND_IMPORT:
            pos = _store(buffer, pos, version, 8)
        if kind != KIND_DELETE:
            pos = _store_varint(buffer, pos, value_size)
            pos = _store_bytes(buffer, pos, value)
        self._end = pos
        self.bytes_staged = (pos + 15) & ~15
        self.op_count += 1
        self.next_lsn += 1
        return self.next_lsn - 1

    @cython.cfunc
    def _make_room(self, payload: cython.Py_ssize_t) -> object:
        """Close a record that is large enough; have room for an operation with ``payload`` bytes of key and value."""
        if self._end - self._start >= RECORD_SPLIT_BYTES and not self._grouped:
            self._close_record()
        if payload > _RECORD_BODY_BYTES_MAX - STAGE_OVERHEAD_BYTES - (self._end - self._start):
            raise ValueError(f"an operation of {payload} bytes does not fit in a record")
        needed: cython.Py_ssize_t = self._end + payload + STAGE_OVERHEAD_BYTES
        if needed > len(self._buffer):
            self._buffer.extend(bytes(max(needed, 2 * len(self._buffer)) - len(self._buffer)))
        return None

    @cython.cfunc
    def _close_record(self) -> object:
        """Write what is known of the open record now, and align; the rest is filled in by ``seal``."""
        buffer: bytearray = self._buffer
        start: cython.Py_ssize_t = self._start
        body: cython.Py_ssize_t = start + RECORD_HEADER_BYTES
        _store(buffer, start, self._end - body, 4)
        _store(buffer, start + 4, 0, 4)
        _store(buffer, start + 8, self._record_first_lsn, 8)
        _store(buffer, start + 16, self.next_lsn - 1, 8)
        _store(buffer, body + 8, self._record_first_lsn, 8)
        _store(buffer, body + 16, self.next_lsn - self._record_first_lsn, 4)
        padded: cython.Py_ssize_t = (self._end + 15) & ~15
        i: cython.Py_ssize_t
        for i in range(self._end, padded):
            buffer[i] = 0
        self._start = self._end = padded
        return None

    @cython.ccall
    def seal(
        self, term: cython.ulonglong, synced: cython.ulonglong, time_ms: cython.ulonglong, salt: cython.ulonglong
    ) -> bytes:
        """The staged operations as records for the segment with ``salt``; nothing is staged afterwards.

        ``synced`` is the LSN known to be on stable storage, ``time_ms`` the shard's time. Empty if nothing was staged.
        ValueError inside a group.
        """
        if self._grouped:
            raise ValueError("a group is open")
        if self._end > self._start:
            self._close_record()
        buffer: bytearray = self._buffer
        start: cython.Py_ssize_t = 0
        body: cython.Py_ssize_t
        body_size: cython.Py_ssize_t
        while start < self._end:
            body = start + RECORD_HEADER_BYTES
            body_size = _load(buffer, start, 4)
            _store(buffer, body, term, 8)
            _store(buffer, body + 20, time_ms, 8)
            _store(buffer, start + 24, synced, 8)
            _store(buffer, start + 32, _checksum(buffer, body, body_size, 0), 8)
            _store(buffer, start + 40, _checksum(buffer, start, RECORD_CHECKED_BYTES, salt), 8)
            start = (body + body_size + 15) & ~15
        if cython.compiled:
            sealed: bytes = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer), start)
        else:
            sealed = bytes(memoryview(buffer)[:start])
        self._start = self._end = 0
        self.op_count = self.bytes_staged = 0
        if len(buffer) > _BUFFER_KEPT_BYTES:
            self._buffer = bytearray(_BUFFER_BYTES)
        return sealed


def frame_body(
    body: bytes, flags: int, first_lsn: int, last_lsn: int, synced: int, salt: int, body_checksum: int | None = None
) -> bytes:
    """``body`` as a record of the segment with ``salt``: header, body, padding.

    A body that came from elsewhere brings its checksum, so that a flip on the way here is not signed anew.
    """
    if body_checksum is None:
        body_checksum = xxh3_64_intdigest(body)
    header = b"".join(
        (
            len(body).to_bytes(4, "little"),
            flags.to_bytes(4, "little"),
            first_lsn.to_bytes(8, "little"),
            last_lsn.to_bytes(8, "little"),
            synced.to_bytes(8, "little"),
            body_checksum.to_bytes(8, "little"),
        )
    )
    checksum = xxh3_64_intdigest(header, salt).to_bytes(8, "little")
    return b"".join((header, checksum, body, _PADDING[: -len(body) % 16]))


def _body_head(term: int, first_lsn: int, count: int, time_ms: int) -> bytes:
    return b"".join(
        (
            term.to_bytes(8, "little"),
            first_lsn.to_bytes(8, "little"),
            count.to_bytes(4, "little"),
            time_ms.to_bytes(8, "little"),
        )
    )


def empty_record(term: int, next_lsn: int, synced: int, time_ms: int, salt: int, flags: int = 0) -> bytes:
    """A record without operations and without an LSN of its own: it says that ``synced`` has moved on."""
    return frame_body(_body_head(term, next_lsn, 0, time_ms), flags, next_lsn, next_lsn - 1, synced, salt)


def term_record(term: int, lsn: int, synced: int, time_ms: int, salt: int) -> bytes:
    """The record that begins ``term``; it takes ``lsn``, which is TERM_LSN_STEP or more above what came before."""
    return frame_body(_body_head(term, lsn, 0, time_ms), RECORD_TERM, lsn, lsn, synced, salt)
