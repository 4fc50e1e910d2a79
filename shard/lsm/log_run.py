"""The operations of a closed log, sorted: what a flush writes. A cursor that goes forward only.

A flush could replay the log into a memtable and walk that; but it would touch several scattered objects for each key,
and waiting for memory is most of a flush's time. So the operations stay where they are, in the bodies of the records,
and what is sorted is an array of slots: where key and value lie, and the key's first bytes as a number, which decides
most comparisons without a look at the key. Interpreted, the slots are a list of tuples with the same order.

Slots are sorted in stretches and the stretches merged by twos, so that no pause is far away; one sort of them all would
be a tenth of a second in which nothing else gets the processor.

Invariants: a slot points into a body that ``_bodies`` keeps alive; once placed, slots ``[0, _count)`` are sorted by key
and, within a key, newest first, so that a key's later slots are passed over.
"""

import cython

if cython.compiled:
    from cython.cimports.libc.stdlib import free, malloc, qsort, realloc
    from cython.cimports.libc.string import memcmp
    from cython.cimports.sherd.shard.lsm.cursor import Cursor, compare_keys
    from cython.cimports.sherd.shard.lsm.log_run import Slot
    from cython.cimports.sherd.shard.lsm.pauses import Pauses
    from cython.cimports.sherd.shard.lsm.record_body import OpReader
else:
    from sherd.shard.lsm.cursor import Cursor, compare_keys
    from sherd.shard.lsm.pauses import Pauses
    from sherd.shard.lsm.record_body import OpReader

_SLOTS_MIN = 1024
_FREED_BODIES = 256
STRETCH: int = 2048
"""Slots that are sorted in one go."""
_STRETCH = cython.declare(cython.Py_ssize_t, STRETCH)
_SLOT_COST = cython.declare(cython.Py_ssize_t, 8)  # what it costs to merge a slot, in bytes of input worked on

if cython.compiled:

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def compare_slots(
        a: cython.pointer[cython.const[cython.void]], b: cython.pointer[cython.const[cython.void]]
    ) -> cython.int:
        """For qsort: by key, and within a key the newest first."""
        x: cython.pointer[Slot] = cython.cast(cython.pointer[Slot], a)
        y: cython.pointer[Slot] = cython.cast(cython.pointer[Slot], b)
        if x.prefix != y.prefix:
            return -1 if x.prefix < y.prefix else 1
        order: cython.int = memcmp(x.key, y.key, x.key_len if x.key_len < y.key_len else y.key_len)
        if order != 0:
            return order
        if x.key_len != y.key_len:
            return -1 if x.key_len < y.key_len else 1
        return -1 if x.lsn > y.lsn else 1


@cython.final
@cython.cclass
class LogRun(Cursor):
    """Filled by ``add``, then walked by ``seek_first`` and ``next``; what that reads is spent on ``pauses``."""

    def __init__(self, pauses: Pauses) -> None:
        Cursor.__init__(self)
        self._pauses = pauses
        self._bodies: list[bytes] = []
        self._room = 0
        self._count = 0
        self._i = 0
        if not cython.compiled:
            self._slots: list[tuple[bytes, int, int, int, int, int, int]] = []

    if cython.compiled:

        def __dealloc__(self) -> None:
            free(self._slots)

        @cython.cfunc
        def _append(self, ops: OpReader) -> cython.int:
            """Take the operation that ``ops``, a reader of the last body, is at."""
            if self._count == self._room:
                room: cython.Py_ssize_t = max(_SLOTS_MIN, 2 * self._room)
                grown = cython.cast(cython.pointer[Slot], realloc(self._slots, room * cython.sizeof(Slot)))
                if grown == cython.NULL:
                    raise MemoryError
                self._slots = grown
                self._room = room
            raw: cython.p_uchar = self._bodies[len(self._bodies) - 1]
            slot: cython.pointer[Slot] = cython.address(self._slots[self._count])
            slot.key = raw + ops.key_at
            slot.key_len = len(ops.key)
            slot.prefix = 0
            i: cython.Py_ssize_t
            for i in range(8):
                slot.prefix <<= 8
                if i < slot.key_len:
                    slot.prefix |= slot.key[i]
            slot.lsn = ops.lsn
            slot.kind = ops.kind
            slot.expiry_ms = ops.expiry_ms
            slot.value_at = ops.value_at
            slot.value_len = 0 if ops.value is None else len(ops.value)
            slot.body = len(self._bodies) - 1
            self._count += 1
            return 0

        @cython.cfunc
        @cython.exceptval(-1, check=False)
        def _sort(self) -> cython.int:
            begin: cython.Py_ssize_t
            for begin in range(0, self._count, _STRETCH):
                qsort(self._slots + begin, min(_STRETCH, self._count - begin), cython.sizeof(Slot), compare_slots)
                self._pauses.spend(_SLOT_COST * 10 * _STRETCH)
            width: cython.Py_ssize_t = _STRETCH
            while width < self._count:
                self._merge_stretches(width)
                width *= 2
            return 0

        @cython.cfunc
        @cython.exceptval(-1, check=False)
        def _merge_stretches(self, width: cython.Py_ssize_t) -> cython.int:
            """Make sorted stretches of twice ``width`` out of sorted ones of ``width``."""
            merged = cython.cast(cython.pointer[Slot], malloc(self._room * cython.sizeof(Slot)))
            if merged == cython.NULL:
                raise MemoryError
            try:
                self._merge_into(merged, width)
            except BaseException:
                free(merged)
                raise
            free(self._slots)
            self._slots = merged
            return 0

        @cython.cfunc
        @cython.exceptval(-1, check=False)
        def _merge_into(self, merged: cython.pointer[Slot], width: cython.Py_ssize_t) -> cython.int:
            slots: cython.pointer[Slot] = self._slots
            at: cython.Py_ssize_t = 0
            while at < self._count:
                left: cython.Py_ssize_t = at
                right: cython.Py_ssize_t = min(at + width, self._count)
                left_end: cython.Py_ssize_t = right
                right_end: cython.Py_ssize_t = min(right + width, self._count)
                while at < right_end:
                    if right == right_end or (
                        left < left_end
                        and compare_slots(cython.address(slots[left]), cython.address(slots[right])) <= 0
                    ):
                        merged[at] = slots[left]
                        left += 1
                    else:
                        merged[at] = slots[right]
                        right += 1
                    at += 1
                    self._pauses.spend(_SLOT_COST)
            return 0

        @cython.cfunc
        def _show(self) -> None:
            slot: cython.pointer[Slot] = cython.address(self._slots[self._i])
            self.key = slot.key[: slot.key_len]
            self.kind = slot.kind
            self.lsn = slot.lsn
            self.expiry_ms = slot.expiry_ms
            self.value_source = self._bodies[slot.body]
            self.value_at = slot.value_at
            self.value_len = slot.value_len
            self.valid = True

    else:

        def _append(self, ops: OpReader) -> None:
            """Take the operation that ``ops``, a reader of the last body, is at."""
            size = 0 if ops.value is None else len(ops.value)
            self._slots.append((ops.key, -ops.lsn, ops.kind, ops.expiry_ms, ops.value_at, size, len(self._bodies) - 1))
            self._count += 1

        def _sort(self) -> None:
            self._slots.sort()

        def _show(self) -> None:
            self.key, lsn, self.kind, self.expiry_ms, self.value_at, self.value_len, body = self._slots[self._i]
            self.lsn = -lsn
            self.value_source = self._bodies[body]
            self.valid = True

    @cython.ccall
    def add(self, body: bytes) -> cython.ulonglong:
        """Take the operations of a record's body; returns the record's time in ms. Corruption if it is malformed."""
        ops: OpReader = OpReader(body)
        self._bodies.append(body)
        while ops.next():
            self._append(ops)
        self._pauses.spend(len(body))
        return ops.time_ms

    def release(self) -> None:
        """Free the records, a few at a time; nothing can be read any more."""
        self.invalidate()
        while self._bodies:
            freed = sum(map(len, self._bodies[-_FREED_BODIES:]))
            del self._bodies[-_FREED_BODIES:]
            self._pauses.spend(freed)

    @cython.ccall
    def seek_first(self) -> None:
        if self._count == 0:
            self.invalidate()
            return
        self._sort()
        self._i = 0
        self._show()

    @cython.ccall
    def next(self) -> None:
        if not self.valid:
            return
        shown: bytes = self.key
        while True:
            self._pauses.spend(len(self.key) + self.value_len)
            self._i += 1
            if self._i >= self._count:
                self.invalidate()
                return
            self._show()
            if compare_keys(self.key, shown) != 0:
                return
