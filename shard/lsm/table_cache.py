"""Open table files, capped: a table is opened when first read, and its file closed when too many are open.

Index and filter of a table stay in memory (they are part of the 2 % of the data that the engine may take); only the
file is closed, and opened again by the next read that misses the block cache. Which file is closed is decided by second
chance (the CLOCK algorithm): handles stand in a ring, and the first that was not asked for since the hand last passed
gives way. Asking for an open table costs one flag. A cursor left standing on a table whose file was closed opens it
again by itself, so the cap may be passed by the number of live cursors.
"""

from __future__ import annotations

from collections import deque

import cython

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreCorrupt
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.format import table_name
from sherd.shard.lsm.manifest import TableMeta

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.table import Table
else:
    from sherd.shard.lsm.table import Table


@cython.final
@cython.cclass
class TableHandle:
    """A live table: what the MANIFEST knows of it, and its reader once opened. ``pins`` counts the versions."""

    def __init__(self, meta: TableMeta, cache: TableCache) -> None:
        self.meta = meta
        self.smallest = meta.smallest
        self.largest = meta.largest
        self.pins = 0
        self._table: Table | None = None
        self._held = False
        self._used = False
        self._cache = cache

    @cython.ccall
    def table(self) -> Table:
        """The reader. Raises Corruption or Unavailable when it has to be opened."""
        if not self._held:
            self._cache.hold(self)
        self._used = True
        return self._table  # type: ignore[return-value]  # held tables are open

    def describe(self, meta: TableMeta) -> None:
        """The table is now in the level that ``meta`` says; nothing else about it changes."""
        self.meta = meta

    def pin(self) -> None:
        """One version more holds the table."""
        self.pins += 1

    def unpin(self) -> bool:
        """One version less holds the table; True if none does any more."""
        self.pins -= 1
        return self.pins == 0


@cython.final
@cython.cclass
class TableCache:
    """Opens the tables of one directory and keeps at most ``files_max`` of their files open."""

    def __init__(self, disk: Disk, directory: str, blocks: BlockCache, files_max: int) -> None:
        self._disk = disk
        self._directory = directory
        self._blocks = blocks
        self._files_max = files_max
        self._ring: deque[TableHandle] = deque()

    def __len__(self) -> int:
        return len(self._ring)

    @cython.cfunc
    def hold(self, handle: TableHandle) -> None:
        """Have the table of ``handle`` open, and in the ring."""
        while len(self._ring) >= self._files_max:
            self._pass_hand()
        if handle._table is None:
            number = handle.meta.number
            try:
                table = Table(self._disk, f"{self._directory}/{table_name(number)}", number, self._blocks)
            except StoreCorrupt as error:  # it was whole when the store was opened: rot, met by this read
                raise Corruption(str(error)) from error
            found, meta = table.properties, handle.meta
            if (found.entries, found.smallest, found.largest, found.min_lsn, found.max_lsn) != (
                meta.entries,
                meta.smallest,
                meta.largest,
                meta.min_lsn,
                meta.max_lsn,
            ):
                table.close()
                raise Corruption(f"{table.path} is not the table that the MANIFEST lists under its number")
            handle._table = table
        handle._held = True
        self._ring.append(handle)

    def _pass_hand(self) -> None:
        """Close the file at the hand, or give it its second chance."""
        handle: TableHandle = self._ring.popleft()
        if handle._used:
            handle._used = False
            self._ring.append(handle)
        else:
            handle._held = False
            if handle._table is not None:
                handle._table.release()

    def forget(self, handle: TableHandle) -> None:
        """Close a table for good and give back its memory; before its file is unlinked."""
        if handle._held:
            self._ring.remove(handle)
            handle._held = False
        if handle._table is not None:
            handle._table.close()
            handle._table = None
