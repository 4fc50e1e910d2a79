"""A version: the immutable set of live tables at one moment, by level, and how a key is looked up in it.

Level 0 holds tables as they were flushed, newest last; they may overlap, and the newest that knows a key is right.
Below, the tables of a level are sorted and disjoint, so at most one can hold a key; and a level's entry of a key is
newer than that of any level below. Whoever reads a version pins it; its tables' files stay until no version that holds
them is pinned.
"""

from collections.abc import Iterable

import cython

from sherd.shard.lsm.manifest import TableMeta

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.cursor import compare_keys
    from cython.cimports.sherd.shard.lsm.entry import Entry
    from cython.cimports.sherd.shard.lsm.table import Table
    from cython.cimports.sherd.shard.lsm.table_cache import TableHandle
else:
    from sherd.shard.lsm.cursor import compare_keys
    from sherd.shard.lsm.entry import Entry
    from sherd.shard.lsm.table import Table
    from sherd.shard.lsm.table_cache import TableHandle

LEVELS = 7
"""Level 0 and six sorted ones."""


@cython.cfunc
def _first_reaching(handles: tuple[TableHandle, ...], key: bytes) -> cython.Py_ssize_t:
    """Position of the first of the sorted tables whose largest key is not below ``key``."""
    low: cython.Py_ssize_t = 0
    high: cython.Py_ssize_t = len(handles)
    middle: cython.Py_ssize_t
    handle: TableHandle
    while low < high:
        middle = (low + high) // 2
        handle = handles[middle]
        if compare_keys(handle.largest, key) < 0:
            low = middle + 1
        else:
            high = middle
    return low


@cython.final
@cython.cclass
class Version:
    """``levels[i]`` are the handles of level ``i``: level 0 oldest first, the others by key."""

    def __init__(self, levels: Iterable[Iterable[TableHandle]]) -> None:
        self.levels = tuple(tuple(level) for level in levels)
        self._newest_first = tuple(reversed(self.levels[0]))
        self._sorted_levels = tuple(level for level in self.levels[1:] if level)

    @cython.ccall
    def find(self, key: bytes, key_hash: cython.ulonglong) -> Entry | None:
        """The newest entry of ``key``, tombstones and expired ones too; None if no table has one.

        ``key_hash`` is ``xxh3_64(key)``. Raises Corruption for a damaged block or table.
        """
        handle: TableHandle
        entry: Entry | None
        table: Table
        for handle in self._newest_first:
            if compare_keys(handle.smallest, key) <= 0 and compare_keys(key, handle.largest) <= 0:
                table = handle.table()
                entry = table.get(key, key_hash)
                if entry is not None:
                    return entry
        level: tuple[TableHandle, ...]
        at: cython.Py_ssize_t
        for level in self._sorted_levels:
            at = _first_reaching(level, key)
            if at < len(level):
                handle = level[at]
                if compare_keys(handle.smallest, key) <= 0:
                    table = handle.table()
                    entry = table.get(key, key_hash)
                    if entry is not None:
                        return entry
        return None

    def handles(self) -> list[TableHandle]:
        """Every table of the version."""
        return [handle for level in self.levels for handle in level]

    def metas(self) -> tuple[tuple[TableMeta, ...], ...]:
        """What the MANIFEST says of the tables, by level."""
        return tuple(tuple(handle.meta for handle in level) for level in self.levels)

    def pin(self) -> None:
        """Keep the files of these tables."""
        for handle in self.handles():
            handle.pin()

    def unpin(self) -> list[TableHandle]:
        """Let go; returns the tables that nobody holds any more."""
        return [handle for handle in self.handles() if handle.unpin()]
