"""A snapshot: the store as it was at one moment, readable until it is closed.

It consists of memtables that take no more writes and of pinned tables. Open snapshots cost memory (those memtables) and
disk (tables that compaction has replaced since), so close them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Self

from xxhash import xxh3_64_intdigest

from sherd.common.errors import Corruption, StoreClosed
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.level_cursor import LevelCursor
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.merge import MergeCursor
from sherd.shard.lsm.scan import ColumnPage, Page, PageRequest, count_page, scan_columns, scan_page
from sherd.shard.lsm.table_cache import TableHandle
from sherd.shard.lsm.version import Version

if TYPE_CHECKING:
    from sherd.shard.lsm.installer import Installer
    from sherd.shard.lsm.shard_time import ShardTime


def _table_cursor(level: tuple[TableHandle, ...], at: int) -> Cursor:
    return level[at].table().cursor()


def sources_cursor(memtables: Sequence[Memtable], version: Version) -> Cursor:
    """One cursor over memtables and tables, newest entries winning. It shows tombstones."""
    cursors: list[Cursor] = []
    for memtable in memtables:
        cursors.extend(memtable.cursors())
    for handle in version.levels[0]:
        cursors.append(handle.table().cursor())
    for level in version.levels[1:]:
        if level:
            ranges = [(handle.smallest, handle.largest) for handle in level]
            cursors.append(LevelCursor(ranges, partial(_table_cursor, level)))
    return cursors[0] if len(cursors) == 1 else MergeCursor(cursors)


class Snapshot:
    """Made by ``Engine.snapshot``. Expiry is judged by the time it was taken, so that what it shows never changes."""

    def __init__(self, memtables: Sequence[Memtable], installer: "Installer", time: "ShardTime") -> None:
        self._memtables = tuple(memtables)
        self._installer = installer
        self._version: Version | None = installer.pin()
        self.time_ms = time.now_ms()

    def _pinned(self) -> Version:
        if self._version is None:
            raise StoreClosed("the snapshot is closed")
        return self._version

    def get(self, key: bytes) -> Entry | None:
        """The entry of ``key`` if it was live, else None. Raises Corruption for a damaged block."""
        version = self._pinned()
        entry: Entry | None = None
        for memtable in self._memtables:
            entry = memtable.find(key)
            if entry is not None:
                break
        else:
            with self._damage_told():
                entry = version.find(key, xxh3_64_intdigest(key))
        return entry if entry is not None and entry.is_live(self.time_ms) else None

    def cursor(self) -> Cursor:
        """A cursor over every entry, tombstones and expired ones included."""
        return sources_cursor(self._memtables, self._pinned())

    def scan_page(self, request: PageRequest) -> Page:
        """A page of the live entries; see ``scan.Page``."""
        with self._damage_told():
            return scan_page(self.cursor(), request, self.time_ms)

    def scan_columns(self, request: PageRequest) -> ColumnPage:
        """The same page for a reader in this process."""
        with self._damage_told():
            return scan_columns(self.cursor(), request, self.time_ms)

    def count(self, start: bytes | None, end: bytes | None) -> int:
        """The live keys of a range."""
        with self._damage_told():
            count, _ = count_page(self.cursor(), start, end, 1 << 60, self.time_ms)
        return count

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except Corruption as error:
            self._installer.damage.met(error)
            raise

    def close(self) -> None:
        """Let go of memory and files. Harmless when repeated."""
        if self._version is not None:
            version, self._version = self._version, None
            self._memtables = ()
            self._installer.release(version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
