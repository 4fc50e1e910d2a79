"""The directory as a whole: the MANIFEST, the version made of it, file numbers, and which files may go.

The order of every change: new files get their names, the directory is fsynced, a MANIFEST that names them is made
durable (its directory entry included), the new version is taken into use, and only then may files be unlinked that
neither it nor a pinned version holds. A crash in between leaves files that nothing names; recovery unlinks them.
"""

import errno
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sherd.common.disk import Disk
from sherd.common.errors import StoreFull, StorePoisoned
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.damage import Damage
from sherd.shard.lsm.format import segment_name, table_name
from sherd.shard.lsm.manifest import TERMS_KEPT_MAX, Manifest, TableMeta, read_manifest, write_manifest
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.steps import Steps, run_steps
from sherd.shard.lsm.table_cache import TableCache, TableHandle
from sherd.shard.lsm.version import LEVELS, Version

log = logging.getLogger("lsm")

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Installer:
    """Owns what the MANIFEST says. ``version`` is the current one, pinned once for being so; ``damage`` is what reads
    have met, of this version and of others; ``unheld`` names files that may be unlinked at leisure, as a start after a
    crash would. ``terms`` is the history of the log, (term, first LSN) each: a follower's may be ahead of the MANIFEST.
    """

    def __init__(
        self,
        disk: Disk,
        directory: str,
        options: EngineOptions,
        manifest: Manifest,
        highest_number: int,
        terms: Iterable[tuple[int, int]] = (),
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._next_file = max(manifest.next_file, highest_number + 1)
        self._handles: dict[int, TableHandle] = {}
        self.manifest = manifest
        self.terms = list(terms)
        self.unheld: deque[str] = deque()
        self.blocks = BlockCache(options.cache_bytes)
        self.damage = Damage()
        self.tables = TableCache(disk, directory, self.blocks, options.open_files_max)
        self.version = self._build(manifest.tables)
        self.version.pin()
        self._writing = False
        self._late: dict[str, Any] = {}

    def _build(self, metas: Iterable[TableMeta]) -> Version:
        """The version of these tables, with the handles of those that are live already."""
        levels: list[list[TableHandle]] = [[] for _ in range(LEVELS)]
        for meta in metas:
            handle = self._handles.get(meta.number)
            if handle is None:
                handle = self._handles[meta.number] = TableHandle(meta, self.tables)
            handle.describe(meta)
            levels[meta.level].append(handle)
        return Version(levels)

    def terms_until(self, lsn: int) -> tuple[tuple[int, int], ...]:
        """The history up to ``lsn``, which is durable, and what the MANIFEST knows of it: to name a term in a MANIFEST
        is to say that its record is durable.
        """
        known = self.manifest.terms
        last = max(lsn, known[-1][1]) if known else lsn
        return tuple(term for term in self.terms if term[1] <= last)[-TERMS_KEPT_MAX:]

    def next_number(self) -> int:
        """A file number that was never used. Numbers given out since the last MANIFEST are known by their files."""
        number = self._next_file
        self._next_file += 1
        return number

    def write(self, **changes: Any) -> None:
        """Make a MANIFEST with these fields changed durable.

        StoreFull if the disk has no room, with everything as before; StorePoisoned for any other failure, for then it
        is not known which MANIFEST a power cut would leave. While one is being written in steps, these changes are left
        to the steps, which make them durable behind their own: they must not be taken back.
        """
        if self._writing:
            self._late.update(changes)
        else:
            run_steps(self.writing(**changes))

    def writing(self, **changes: Any) -> Steps[None]:
        """``write`` in steps."""
        manifest = replace(self.manifest, next_file=self._next_file, **changes)
        self._writing, self._late = True, {}
        try:
            yield lambda: write_manifest(self._disk, self._directory, manifest)
        except OSError as error:
            if error.errno in NO_ROOM and read_manifest(self._disk, self._directory) == self.manifest:
                raise StoreFull(f"no room on the disk for the MANIFEST in {self._directory}") from error
            raise StorePoisoned(f"the MANIFEST in {self._directory} could not be made durable: {error}") from error
        finally:
            self._writing = False
        self.manifest = manifest
        if self._late:
            yield from self.writing(**self._late)

    def name_tables(self, temporaries: Sequence[str], numbers: Sequence[int]) -> None:
        """``naming_tables``, here and now."""
        run_steps(self.naming_tables(temporaries, numbers))

    def naming_tables(self, temporaries: Sequence[str], numbers: Sequence[int]) -> Steps[None]:
        """Give finished tables (``temporaries`` are file names) their names, durably. Raises as ``write`` does."""
        done: list[str] = []

        def rename_all() -> None:
            for temporary, number in zip(temporaries, numbers, strict=True):
                self._disk.rename(f"{self._directory}/{temporary}", f"{self._directory}/{table_name(number)}")
                done.append(table_name(number))
            self._disk.sync_dir(self._directory)

        try:
            yield rename_all
        except OSError as error:
            if error.errno in NO_ROOM:
                yield lambda: self.discard([*done, *temporaries[len(done) :]])
                raise StoreFull(f"no room on the disk for a table in {self._directory}") from error
            raise StorePoisoned(f"a new table in {self._directory} could not be named: {error}") from error

    def replace_tables(self, removed: Iterable[int], added: Sequence[TableMeta], **changes: Any) -> None:
        """``replacing_tables``, here and now."""
        run_steps(self.replacing_tables(removed, added, **changes))

    def replacing_tables(self, removed: Iterable[int], added: Sequence[TableMeta], **changes: Any) -> Steps[None]:
        """Take ``removed`` out of the current version and put ``added`` (already named) in, durably.

        A table in both moves to another level. Raises as ``write`` does; after StoreFull the added ones are unlinked.
        """
        gone = set(removed)
        kept = [meta for meta in self.manifest.tables if meta.number not in gone]
        metas = sorted(
            (*kept, *added), key=lambda meta: (meta.level, meta.number if meta.level == 0 else 0, meta.smallest)
        )
        try:
            yield from self.writing(tables=tuple(metas), **changes)
        except StoreFull:
            yield lambda: self.discard(table_name(meta.number) for meta in added if meta.number not in gone)
            raise
        old, self.version = self.version, self._build(metas)
        self.version.pin()
        self.unheld.extend(self._let_go(old))

    def pin(self) -> Version:
        """The current version, whose files stay until it is released."""
        self.version.pin()
        return self.version

    def release(self, version: Version) -> None:
        """Let go of a pinned version, and of files that nobody holds any more."""
        self.discard(self._let_go(version))

    def _let_go(self, version: Version) -> list[str]:
        """Unpin a version; the names of the files that nobody holds any more."""
        names = []
        for handle in version.unpin():
            self.tables.forget(handle)
            del self._handles[handle.meta.number]
            names.append(table_name(handle.meta.number))
        return names

    def drop_segments(self, numbers: Iterable[int]) -> None:
        """Have log segments unlinked that the MANIFEST no longer needs."""
        self.unheld.extend(segment_name(number) for number in numbers)

    def unlink_unheld(self) -> None:
        """Unlink all of ``unheld``."""
        while self.unheld:
            self.discard([self.unheld.popleft()])

    def discard(self, names: Iterable[str]) -> None:
        """Unlink files that nothing refers to. One that will not go is left for the next start."""
        for name in names:
            try:
                self._disk.unlink(f"{self._directory}/{name}")
            except OSError as error:
                log.warning("unlink failed name=%s error=%s", name, error)

    def close(self) -> None:
        """Close every table, pinned or not."""
        for handle in self._handles.values():
            self.tables.forget(handle)
        self._handles.clear()
