"""Lays entries out as a block. Layout: FORMAT.md, "Block".

Invariants: keys are added in ascending order (the caller's duty); ``_entries[:_used]`` are the entries so far,
``_offsets[: 4 * count]`` where they begin. The buffers are kept from block to block.
"""

import cython

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcpy
    from cython.cimports.sherd.shard.lsm.format import (
        BLOCK_COUNT_BYTES,
        ENTRY_OFFSET_BYTES,
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_PUT,
    )
else:
    from sherd.shard.lsm.format import (
        BLOCK_COUNT_BYTES,
        ENTRY_OFFSET_BYTES,
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_PUT,
    )

ENTRY_OVERHEAD_BYTES_MAX: int = 2 + 1 + 8 + 8 + 5  # key length, kind, LSN, expiry, value length
_OVERHEAD = cython.declare(cython.Py_ssize_t, ENTRY_OVERHEAD_BYTES_MAX)
_BUFFER_BYTES = 64 << 10
_BUFFER_KEPT_BYTES = 4 << 20


@cython.cfunc
@cython.exceptval(check=False)
def store(
    raw: cython.p_uchar, at: cython.Py_ssize_t, value: cython.ulonglong, width: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write ``width`` little-endian bytes where there is room; returns the position after them."""
    i: cython.Py_ssize_t
    for i in range(width):
        raw[at + i] = (value >> (8 * i)) & 0xFF
    return at + width


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _store_varint(raw: cython.p_uchar, at: cython.Py_ssize_t, value: cython.ulonglong) -> cython.Py_ssize_t:
    """Write a varint where there is room; returns the position after it."""
    while value > 0x7F:
        raw[at] = (value & 0x7F) | 0x80
        value >>= 7
        at += 1
    raw[at] = value
    return at + 1


@cython.cfunc
@cython.inline
def _copy(
    target: bytearray, at: cython.Py_ssize_t, source: bytes, start: cython.Py_ssize_t, size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Copy ``source[start : start + size]`` to ``target[at:]``; returns the position after it."""
    if start < 0 or size < 0 or size > len(source) - start or at < 0 or size > len(target) - at:
        raise IndexError("a copy beyond its bounds")
    if cython.compiled:
        memcpy(PyByteArray_AS_STRING(target) + at, PyBytes_AS_STRING(source) + start, size)
    else:
        target[at : at + size] = source[start : start + size]
    return at + size


@cython.final
@cython.cclass
class BlockBuilder:
    """One block at a time; ``count`` is of the entries added since the last ``finish``."""

    def __init__(self) -> None:
        self.count = 0
        self._entries = bytearray(_BUFFER_BYTES)
        self._offsets = bytearray(1024)
        self._used = 0

    @cython.ccall
    def size_bytes(self) -> cython.Py_ssize_t:
        """Bytes that ``finish`` would return now."""
        return self._used + self.count * ENTRY_OFFSET_BYTES + BLOCK_COUNT_BYTES

    @cython.ccall
    def add(
        self, key: bytes, lsn: cython.ulonglong, kind: cython.uint, expiry_ms: cython.ulonglong, value: bytes | None
    ) -> None:
        """Append one entry; the value of a tombstone is ignored. ValueError if it can not be told in a block."""
        if value is None:
            value = b""
        self.add_slice(key, lsn, kind, expiry_ms, value, 0, len(value))

    @cython.cfunc
    def add_slice(
        self,
        key: bytes,
        lsn: cython.ulonglong,
        kind: cython.uint,
        expiry_ms: cython.ulonglong,
        source: bytes,
        start: cython.Py_ssize_t,
        size: cython.Py_ssize_t,
    ) -> cython.int:
        """``add`` with the value ``source[start : start + size]``."""
        if kind < KIND_PUT or kind > KIND_IMPORT:
            raise ValueError(f"an entry of unknown kind {kind}")
        key_len: cython.Py_ssize_t = len(key)
        if key_len == 0 or key_len > KEY_BYTES_MAX:
            raise ValueError(f"a key of {key_len} bytes")
        if kind == KIND_DELETE:
            size = 0
            if expiry_ms:
                raise ValueError("a tombstone does not expire")
        self._make_room(key_len + size + _OVERHEAD)
        raw: cython.p_uchar = self._offsets
        store(raw, self.count * ENTRY_OFFSET_BYTES, self._used, ENTRY_OFFSET_BYTES)
        raw = self._entries
        at: cython.Py_ssize_t = _store_varint(raw, self._used, key_len)
        at = _copy(self._entries, at, key, 0, key_len)
        raw[at] = kind | KIND_HAS_EXPIRY if expiry_ms else kind
        at = store(raw, at + 1, lsn, 8)
        if expiry_ms:
            at = store(raw, at, expiry_ms, 8)
        if kind != KIND_DELETE:
            at = _store_varint(raw, at, size)
            at = _copy(self._entries, at, source, start, size)
        self._used = at
        self.count += 1
        return 0

    @cython.cfunc
    @cython.inline
    def _make_room(self, entry_bytes: cython.Py_ssize_t) -> cython.int:
        if entry_bytes > len(self._entries) - self._used:
            self._entries += bytes(max(entry_bytes, len(self._entries)))
        if (self.count + 1) * ENTRY_OFFSET_BYTES > len(self._offsets):
            self._offsets += bytes(len(self._offsets))
        return 0

    @cython.ccall
    def finish(self) -> bytes:
        """The block; the builder is empty again."""
        view = memoryview(self._entries)
        offsets = memoryview(self._offsets)
        data: bytes = b"".join(
            (
                view[: self._used],
                offsets[: self.count * ENTRY_OFFSET_BYTES],
                int(self.count).to_bytes(BLOCK_COUNT_BYTES, "little"),
            )
        )
        view.release()
        offsets.release()
        if len(self._entries) > _BUFFER_KEPT_BYTES:
            self._entries = bytearray(_BUFFER_BYTES)
        self.count = 0
        self._used = 0
        return data
