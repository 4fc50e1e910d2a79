"""A block: sorted entries in one piece of bytes, searched and shown where they lie. Layout: FORMAT.md, "Block".

Invariant: the bytes are walked through once, when a Block is made of them: every length lies inside the block, the
entries fill it without a gap, and the offsets at its end are where they begin. So what follows reads unchecked, given
an entry number below ``count``. That keys ascend is the writer's promise, which the block's checksum seals and
``Table.verify`` checks.

A search that looks at keys where they lie waits for memory at each of its steps. So a block that is searched again
notes the *head* of each key, as one number in a dense array: the eight bytes after those that all of its keys share.
A search is then one among numbers, and mostly looks at a single key (Graefe and Larson, "B-Tree Indexes and CPU
Caches", 2001, call such heads poor man's normalized keys).
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcmp
    from cython.cimports.sherd.shard.lsm.cursor import Cursor
    from cython.cimports.sherd.shard.lsm.entry import Entry, make_entry
    from cython.cimports.sherd.shard.lsm.format import (
        BLOCK_COUNT_BYTES,
        ENTRY_OFFSET_BYTES,
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_MASK,
        KIND_PUT,
        VARINT_BYTES_MAX,
    )
else:
    from sherd.shard.lsm.cursor import Cursor
    from sherd.shard.lsm.entry import Entry, make_entry
    from sherd.shard.lsm.format import (
        BLOCK_COUNT_BYTES,
        ENTRY_OFFSET_BYTES,
        KEY_BYTES_MAX,
        KIND_DELETE,
        KIND_HAS_EXPIRY,
        KIND_IMPORT,
        KIND_MASK,
        KIND_PUT,
        VARINT_BYTES_MAX,
    )


@cython.cfunc
@cython.exceptval(check=False)
def load_u32(raw: cython.p_uchar, at: cython.Py_ssize_t) -> cython.uint:
    """The u32 at ``at``; the caller knows that it is there."""
    if cython.compiled:
        p: cython.p_uchar = raw + at  # constant offsets from one pointer, which compilers make a single load
        high: cython.uint = p[3]
        return p[0] | (p[1] << 8) | (p[2] << 16) | (high << 24)
    else:
        return int.from_bytes(raw[at : at + 4], "little")


@cython.cfunc
@cython.exceptval(check=False)
def load_u64(raw: cython.p_uchar, at: cython.Py_ssize_t) -> cython.ulonglong:
    """The u64 at ``at``; the caller knows that it is there."""
    high: cython.ulonglong = load_u32(raw, at + 4)
    return (high << 32) | load_u32(raw, at)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _varint_end(raw: cython.p_uchar, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The position after the checked varint at ``at``."""
    while raw[at] > 0x7F:
        at += 1
    return at + 1


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _varint(raw: cython.p_uchar, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The checked varint at ``at``."""
    value: cython.Py_ssize_t = raw[at] & 0x7F
    shift: cython.int = 7
    byte: cython.Py_ssize_t
    while raw[at] > 0x7F:
        at += 1
        byte = raw[at] & 0x7F
        value |= byte << shift
        shift += 7
    return value


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _varint_fits(raw: cython.p_uchar, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """Whether a varint of at most 32 bits, in its shortest form, ends before ``end``."""
    i: cython.Py_ssize_t
    for i in range(VARINT_BYTES_MAX):
        if at + i >= end:
            return False
        if raw[at + i] <= 0x7F:
            if i > 0 and raw[at + i] == 0:
                return False
            return i < VARINT_BYTES_MAX - 1 or raw[at + i] <= 0x0F
    return False


@cython.cfunc
@cython.exceptval(check=False)
def _entry_end(raw: cython.p_uchar, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The position after the entry at ``at``; -1 if it does not lie whole before ``end`` or is no entry."""
    if not _varint_fits(raw, at, end):
        return -1
    size: cython.Py_ssize_t = _varint(raw, at)
    at = _varint_end(raw, at)
    if size == 0 or size > KEY_BYTES_MAX or size + 9 > end - at:
        return -1
    at += size
    flags: cython.uint = raw[at]
    kind: cython.uint = flags & KIND_MASK
    at += 9
    if kind < KIND_PUT or kind > KIND_IMPORT or flags & ~cython.cast(cython.uint, KIND_MASK | KIND_HAS_EXPIRY):
        return -1
    if flags & KIND_HAS_EXPIRY:
        if end - at < 8 or kind == KIND_DELETE or load_u64(raw, at) == 0:
            return -1
        at += 8
    if kind == KIND_DELETE:
        return at
    if not _varint_fits(raw, at, end):
        return -1
    size = _varint(raw, at)
    at = _varint_end(raw, at)
    return at + size if size <= end - at else -1


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _order(raw: cython.p_uchar, at: cython.Py_ssize_t, key: cython.p_uchar, key_len: cython.Py_ssize_t) -> cython.int:
    """How the key of the entry at ``at`` sorts against ``key``: below, at or above zero."""
    size: cython.Py_ssize_t = _varint(raw, at)
    at = _varint_end(raw, at)
    if cython.compiled:
        order: cython.int = memcmp(raw + at, key, size if size < key_len else key_len)
        if order != 0:
            return order
        return (size > key_len) - (size < key_len)
    else:
        found: bytes = raw[at : at + size]
        wanted: bytes = key
        return (found > wanted) - (found < wanted)


@cython.final
@cython.cclass
class Block:
    """The entries of one decoded block, numbered from 0; ValueError if the bytes are not a block."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.count = 0
        self.shelf: list[Block | None] | None = None
        self.shelf_at = 0
        self.ring_at = 0
        self.cost_bytes = 0
        self.touched = False
        self._heads = b""
        self._shared = 0
        self._searched = False
        size: cython.Py_ssize_t = len(data)
        if size < BLOCK_COUNT_BYTES:
            raise ValueError("a block too short for its count")
        raw: cython.p_uchar = data
        count: cython.Py_ssize_t = load_u32(raw, size - BLOCK_COUNT_BYTES)
        if count > (size - BLOCK_COUNT_BYTES) // ENTRY_OFFSET_BYTES:
            raise ValueError("a block too short for its entries")
        self._offsets_at = size - BLOCK_COUNT_BYTES - count * ENTRY_OFFSET_BYTES
        at: cython.Py_ssize_t = 0
        i: cython.Py_ssize_t
        for i in range(count):
            if load_u32(raw, self._offsets_at + i * ENTRY_OFFSET_BYTES) != at:
                raise ValueError(f"entry {i} does not begin at byte {at} of its block")
            at = _entry_end(raw, at, self._offsets_at)
            if at < 0:
                raise ValueError(f"entry {i} of the block is malformed")
        if at != self._offsets_at:
            raise ValueError(f"{self._offsets_at - at} stray bytes in the block")
        self.count = count

    @cython.ccall
    def search(self, key: bytes) -> cython.Py_ssize_t:
        """The number of the first entry whose key is ``key`` or sorts after it; ``count`` if there is none."""
        raw: cython.p_uchar = self.data
        wanted: cython.p_uchar = key
        wanted_len: cython.Py_ssize_t = len(key)
        low: cython.Py_ssize_t = 0
        high: cython.Py_ssize_t = self.count
        middle: cython.Py_ssize_t
        if self._searched:
            if len(self._heads) == 0 and self.count > 0:
                self._note_heads()
            low = self._first_head(wanted, wanted_len)
            if low < 0:
                return ~low
            if low + 1 < high and self._head(low + 1) != self._head(low):
                high = low + 1
        self._searched = True
        while low < high:
            middle = (low + high) >> 1
            if _order(raw, load_u32(raw, self._offsets_at + middle * ENTRY_OFFSET_BYTES), wanted, wanted_len) < 0:
                low = middle + 1
            else:
                high = middle
        return low

    @cython.cfunc
    def _note_heads(self) -> None:
        raw: cython.p_uchar = self.data
        first: cython.Py_ssize_t = load_u32(raw, self._offsets_at)
        at: cython.Py_ssize_t = load_u32(raw, self._offsets_at + (self.count - 1) * ENTRY_OFFSET_BYTES)
        size: cython.Py_ssize_t = min(_varint(raw, first), _varint(raw, at))
        first = _varint_end(raw, first)
        at = _varint_end(raw, at)
        shared: cython.Py_ssize_t = 0
        while shared < size and raw[first + shared] == raw[at + shared]:
            shared += 1
        self._shared = shared
        heads: bytearray = bytearray(8 * self.count)
        out: cython.p_uchar = heads
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        for i in range(self.count):
            at = load_u32(raw, self._offsets_at + i * ENTRY_OFFSET_BYTES)
            size = _varint(raw, at) - shared
            at = _varint_end(raw, at) + shared
            for j in range(min(size, 8)):
                out[8 * i + 7 - j] = raw[at + j]
        self._heads = bytes(heads) + raw[first : first + shared]

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _head(self, i: cython.Py_ssize_t) -> cython.ulonglong:
        return load_u64(self._heads, 8 * i)  # after them lie the bytes that all keys share

    @cython.cfunc
    @cython.exceptval(check=False)
    def _first_head(self, key: cython.p_uchar, key_len: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The first entry with the head of ``key``; where there is none, ``~n``, n being what ``search`` answers."""
        raw: cython.p_uchar = self._heads
        at: cython.Py_ssize_t = 8 * self.count
        size: cython.Py_ssize_t = self._shared if self._shared < key_len else key_len
        i: cython.Py_ssize_t
        for i in range(size):
            if key[i] != raw[at + i]:
                return ~(0 if key[i] < raw[at + i] else self.count)
        if key_len < self._shared:
            return ~0
        head: cython.ulonglong = 0
        for i in range(self._shared, self._shared + 8):
            head <<= 8
            if i < key_len:
                head |= key[i]
        low: cython.Py_ssize_t = 0
        high: cython.Py_ssize_t = self.count
        middle: cython.Py_ssize_t
        while low < high:
            middle = (low + high) >> 1
            if self._head(middle) < head:
                low = middle + 1
            else:
                high = middle
        return low if low < self.count and self._head(low) == head else ~low

    @cython.ccall
    def find(self, key: bytes) -> Entry | None:
        """The entry of exactly this key, or None."""
        i: cython.Py_ssize_t = self.search(key)
        if i == self.count:
            return None
        raw: cython.p_uchar = self.data
        at: cython.Py_ssize_t = load_u32(raw, self._offsets_at + i * ENTRY_OFFSET_BYTES)
        if _order(raw, at, key, len(key)) != 0:
            return None
        at = _varint_end(raw, at) + len(key)
        flags: cython.uint = raw[at]
        lsn: cython.ulonglong = load_u64(raw, at + 1)
        at += 9
        expiry_ms: cython.ulonglong = 0
        if flags & KIND_HAS_EXPIRY:
            expiry_ms = load_u64(raw, at)
            at += 8
        if flags & KIND_MASK == KIND_DELETE:
            return make_entry(lsn, KIND_DELETE, expiry_ms, None)
        size: cython.Py_ssize_t = _varint(raw, at)
        at = _varint_end(raw, at)
        return make_entry(lsn, flags & KIND_MASK, expiry_ms, raw[at : at + size])

    @cython.ccall
    def show(self, i: cython.Py_ssize_t, cursor: Cursor) -> None:
        """Let ``cursor`` stand at entry ``i``."""
        if not 0 <= i < self.count:
            raise IndexError(f"entry {i} of a block of {self.count}")
        raw: cython.p_uchar = self.data
        at: cython.Py_ssize_t = load_u32(raw, self._offsets_at + i * ENTRY_OFFSET_BYTES)
        size: cython.Py_ssize_t = _varint(raw, at)
        at = _varint_end(raw, at)
        cursor.key = raw[at : at + size]
        at += size
        flags: cython.uint = raw[at]
        cursor.kind = flags & KIND_MASK
        cursor.lsn = load_u64(raw, at + 1)
        at += 9
        cursor.expiry_ms = 0
        if flags & KIND_HAS_EXPIRY:
            cursor.expiry_ms = load_u64(raw, at)
            at += 8
        cursor.value_len = 0
        if cursor.kind != KIND_DELETE:
            cursor.value_len = _varint(raw, at)
            at = _varint_end(raw, at)
        cursor.value_source = self.data
        cursor.value_at = at
        cursor.valid = True

    @cython.cfunc
    def value_start(self, i: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Where the value of entry ``i``, which has no expiry and is no tombstone, begins in ``data``."""
        if not 0 <= i < self.count:
            raise IndexError(f"entry {i} of a block of {self.count}")
        raw: cython.p_uchar = self.data
        at: cython.Py_ssize_t = load_u32(raw, self._offsets_at + i * ENTRY_OFFSET_BYTES)
        at = _varint_end(raw, at) + _varint(raw, at) + 9
        return _varint_end(raw, at)
