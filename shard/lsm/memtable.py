"""The newest entries, in memory: a hash table for points, sorted lazily for scans.

A write or a read of one key costs one operation of a dictionary. Order is made only when somebody walks the keys:
keys new since the last walk are sorted into a run, and a run is merged with the one before it while that one is less
than twice as long. So an insert pays nothing for order, a walk after a few writes sorts those few, and each key takes
part in a logarithmic number of merges.

Invariants: a key is in exactly one run or in the unsorted rest; ``memory_bytes`` counts the memory of everything held,
objects and the slots of the dictionary included, so that it bounds what the process needs.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import cython

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.cursor import Cursor
    from cython.cimports.sherd.shard.lsm.entry import Entry
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
else:
    from sherd.shard.lsm.cursor import Cursor
    from sherd.shard.lsm.entry import Entry
    from sherd.shard.lsm.format import KIND_DELETE

ENTRY_BYTES: Final = 224
"""Memory of one entry beside its key's and value's bytes: the entry 64, the heads of two ``bytes`` objects 33 each and
what the allocator rounds up, 24 bytes a slot and 4 an index in a dictionary that is half full, 8 in a run."""
_ENTRY_BYTES = cython.declare(cython.Py_ssize_t, ENTRY_BYTES)


@cython.cclass
class Memtable:
    """Entries by key. ``first_lsn`` and ``last_lsn`` are of the first and last operation taken (0 while empty).

    ``shared``: a snapshot reads it too.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.memory_bytes = 0
        self.tombstones = 0
        self.first_lsn = 0
        self.last_lsn = 0
        self.shared = False
        self._runs: list[list[bytes]] = []
        self._unsorted: list[bytes] = []

    def __len__(self) -> int:
        return len(self.entries)

    @cython.ccall
    def find(self, key: bytes) -> Entry | None:
        """The newest entry of ``key``, tombstones and expired ones too; None if it was not written here."""
        return self.entries.get(key)

    @cython.ccall
    def insert(self, key: bytes, entry: Entry) -> None:
        """Take an entry, which must be newer than the one its key has."""
        entries: dict = self.entries  # type: ignore[type-arg]
        old: Entry = entries.setdefault(key, entry)
        if old is entry:
            self._unsorted.append(key)
            self.memory_bytes += _ENTRY_BYTES + len(key)
        else:
            if old.value is not None:
                self.memory_bytes -= len(old.value)
            if old.kind == KIND_DELETE:
                self.tombstones -= 1
            entries[key] = entry
        if entry.value is not None:
            self.memory_bytes += len(entry.value)
        if entry.kind == KIND_DELETE:
            self.tombstones += 1
        if self.first_lsn == 0:
            self.first_lsn = entry.lsn
        self.last_lsn = entry.lsn

    @cython.ccall
    def cursors(self) -> list:  # type: ignore[type-arg]
        """Cursors that together walk every key once: one per sorted run. They hold until the next insert."""
        if self._unsorted:
            self._sort()
        return [RunCursor(self.entries, run) for run in self._runs]

    @cython.cfunc
    def _sort(self) -> None:
        """Make the unsorted rest a run. Sorting two joined runs is one linear merge (timsort finds them)."""
        run: list = self._unsorted  # type: ignore[type-arg]
        self._unsorted = []
        run.sort()
        runs: list = self._runs  # type: ignore[type-arg]
        while runs and len(runs[len(runs) - 1]) < 2 * len(run):
            run = runs.pop() + run
            run.sort()
        runs.append(run)

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def forget(self, count: cython.Py_ssize_t) -> cython.bint:
        """Free up to ``count`` entries of a memtable that nobody reads any more; whether some are left.

        To free a large one at once takes so long that requests would notice.
        """
        entries: dict = self.entries  # type: ignore[type-arg]
        keys: list = self._unsorted  # type: ignore[type-arg]
        while count > 0 and entries:
            count -= 1
            entries.popitem()
            if not keys and self._runs:
                keys = self._unsorted = self._runs.pop()
            if keys:
                keys.pop()
        return len(entries) > 0

    def copy(self) -> Memtable:
        """The same entries in a memtable of their own."""
        twin: Memtable = Memtable()
        if self._unsorted:
            self._sort()
        twin.entries = self.entries.copy()
        twin.memory_bytes = self.memory_bytes
        twin.tombstones = self.tombstones
        twin.first_lsn = self.first_lsn
        twin.last_lsn = self.last_lsn
        twin._runs = self._runs.copy()
        return twin


@cython.final
@cython.cclass
class RunCursor(Cursor):
    """Walks one sorted run of a memtable's keys."""

    def __init__(self, entries: dict[bytes, Entry], run: list[bytes]) -> None:
        super().__init__()
        self._entries = entries
        self._run = run
        self._at = 0

    @cython.cfunc
    def _show(self, at: cython.Py_ssize_t) -> None:
        """Stand at position ``at`` of the run, or at no entry if there is none."""
        if at < 0 or at >= len(self._run):
            self.invalidate()
            return
        self._at = at
        key: bytes = self._run[at]
        entry: Entry = self._entries[key]
        self.valid = True
        self.key = key
        self.lsn = entry.lsn
        self.kind = entry.kind
        self.expiry_ms = entry.expiry_ms
        value: bytes = b"" if entry.value is None else entry.value
        self.value_source = value
        self.value_at = 0
        self.value_len = len(value)

    @cython.ccall
    def seek(self, key: bytes) -> None:
        self._show(bisect_left(self._run, key))

    @cython.ccall
    def seek_first(self) -> None:
        self._show(0)

    @cython.ccall
    def seek_last(self) -> None:
        self._show(len(self._run) - 1)

    @cython.ccall
    def seek_before(self, key: bytes) -> None:
        self._show(bisect_left(self._run, key) - 1)

    @cython.ccall
    def next(self) -> None:
        if self.valid:
            self._show(self._at + 1)

    @cython.ccall
    def prev(self) -> None:
        if self.valid:
            self._show(self._at - 1)
