"""Making a store of tables that were copied from another: how a follower begins whose log can't be gone on with.

Copied tables gather in ``copy/`` under names that say whose they are, complete and verified when they have that name;
so a copy that was interrupted goes on with what is there. Nothing of the store changes before all of them are.

| step of ``adopt`` | a crash after it leaves | repaired by |
|---|---|---|
| what is about to be given up copied to ``quarantine/`` | copies | done again, under other names |
| a new empty segment named | an empty segment | unlinked by the next start |
| tables moved to their names | tables that no MANIFEST names | unlinked by the next start; they are copied again |
| MANIFEST durable that names only what is new | the new store, and files of the old | unlinked by the next start |
| ``copy/`` emptied | the result | |
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreCorrupt
from sherd.common.logs import event
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.format import (
    COPY_NAME,
    SEGMENT_SUFFIX,
    TABLE_SUFFIX,
    file_number,
    segment_name,
    table_name,
)
from sherd.shard.lsm.manifest import STORE_ID_BYTES, Manifest, TableMeta, read_manifest, write_manifest
from sherd.shard.lsm.opening import locked
from sherd.shard.lsm.quarantine import save_copy
from sherd.shard.lsm.segment import install_segment, prepare_segment
from sherd.shard.lsm.table import Table
from sherd.shard.lsm.wal import SEGMENT_BYTES_MIN

log = logging.getLogger("lsm")

PART_SUFFIX: Final = ".part"


@dataclass(frozen=True, slots=True)
class CopiedState:
    """What the tables of a store hold: everything up to ``flushed_lsn``, in their order of the MANIFEST."""

    store_id: bytes
    tables: Sequence[TableMeta]
    flushed_lsn: int
    logged_ms: int
    terms: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, manifest: Manifest) -> "CopiedState":
        """What is in the tables of this MANIFEST."""
        terms = [term for term in manifest.terms if term[1] <= manifest.flushed_lsn]
        return cls(manifest.store_id, manifest.tables, manifest.flushed_lsn, manifest.logged_ms, terms)


class CopyDir:
    """``copy/`` in the directory of a store that is closed, or not made yet."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._path = f"{directory}/{COPY_NAME}"
        if not disk.exists(directory):
            disk.mkdir(directory)
        disk.mkdir(self._path)
        disk.sync_dir(directory)

    def path_of(self, state: CopiedState, table: TableMeta) -> str:
        """Where this table lies once it is complete."""
        return f"{self._path}/{state.store_id.hex()}-{table.number}-{table.bytes}{TABLE_SUFFIX}"

    def has(self, state: CopiedState, table: TableMeta) -> bool:
        """Whether the table is here, complete and verified."""
        return self._disk.exists(self.path_of(state, table))

    def keep_only(self, state: CopiedState) -> None:
        """Remove what is not of this state: parts, and tables of others."""
        wanted = {self.path_of(state, table) for table in state.tables}
        for name in self._disk.listdir(self._path):
            if f"{self._path}/{name}" not in wanted:
                self._disk.unlink(f"{self._path}/{name}")

    def finish(self, state: CopiedState, table: TableMeta, part: str) -> None:
        """Verify a table that was written to ``part`` and synced, and name it. StoreCorrupt if it is damaged."""
        try:
            with contextlib.closing(Table.open(self._disk, part, table.number, BlockCache(0))) as found:
                if (found.properties.file_bytes, found.properties.entries) != (table.bytes, table.entries):
                    raise StoreCorrupt(f"{part} is not the table that was to be copied")
                found.verify()
        except Corruption as error:
            raise StoreCorrupt(f"{part} arrived damaged: {error}") from error
        self._disk.rename(part, self.path_of(state, table))
        self._disk.sync_dir(self._path)


def adopt(disk: Disk, directory: str, state: CopiedState, random: Callable[[int], bytes], fork_lsn: int | None) -> None:
    """Make the store in ``directory`` out of the copied tables. All of them must be in its ``copy/``. It is another
    store then, with an id of its own.

    Of what it held, the tables and segments with anything beyond ``fork_lsn`` are saved in quarantine; None saves none.
    """
    copies = CopyDir(disk, directory)
    with locked(disk, directory):
        _adopt(disk, directory, copies, state, random, fork_lsn)


def _adopt(
    disk: Disk,
    directory: str,
    copies: CopyDir,
    state: CopiedState,
    random: Callable[[int], bytes],
    fork_lsn: int | None,
) -> None:
    manifest = read_manifest(disk, directory) or Manifest(store_id=random(STORE_ID_BYTES))
    names = disk.listdir(directory)
    segments = sorted(number for name in names if (number := file_number(name, SEGMENT_SUFFIX)) is not None)
    if fork_lsn is not None:
        given_up = [table_name(table.number) for table in manifest.tables if table.max_lsn > fork_lsn]
        given_up += [segment_name(number) for number in segments if number >= manifest.first_segment]
        for name in given_up:
            save_copy(disk, directory, name)
        event(
            log, logging.WARNING, "store given up for its leader's, what it alone had is in quarantine",
            path=directory, behind_lsn=fork_lsn, files=",".join(given_up),
        )  # fmt: skip
    tables = [file_number(name, TABLE_SUFFIX) or 0 for name in names]
    number = max(manifest.next_file, *(n + 1 for n in (*segments, *tables)), 1)
    temporary = f"{directory}/segment-{number}.tmp"
    if disk.exists(temporary):
        disk.unlink(temporary)
    prepare_segment(disk, temporary, number, SEGMENT_BYTES_MIN, int.from_bytes(random(8), "little"))
    install_segment(disk, directory, temporary, number)
    metas = []
    for offset, table in enumerate(state.tables, 1):
        disk.rename(copies.path_of(state, table), f"{directory}/{table_name(number + offset)}")
        metas.append(replace(table, number=number + offset))
    disk.sync_dir(directory)
    write_manifest(
        disk,
        directory,
        Manifest(
            store_id=random(STORE_ID_BYTES),
            next_file=number + len(metas) + 1,
            tables=tuple(metas),
            first_segment=number,
            kept_segment=number,
            flushed_lsn=state.flushed_lsn,
            logged_ms=state.logged_ms,
            terms=tuple(state.terms),
            partial=True,
            owner=manifest.owner,
        ),
    )
    copies.keep_only(replace(state, tables=()))
    event(log, logging.INFO, "store made of copied tables", path=directory, tables=len(metas), lsn=state.flushed_lsn)
