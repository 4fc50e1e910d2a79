"""The engine: one shard's LSM tree. Synchronous, used by one thread at a time, knows no network.

``EngineCore`` reads, stages and logs single operations; here are ranges, snapshots, background work, and a life's
beginning and end. Background work is handed out as jobs (upkeep.py) and put in place when done. A caller who takes the
steps of ``installing`` waits for a disk only in reads that miss the cache, in ``commit``, when it opens and closes, and
when the log must roll and no segment was prepared in time.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Self

import cython

from sherd.common.clock import Clock
from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreClosed, StoreFull, StorePoisoned
from sherd.shard.lsm.opening import open_directory
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.pressure import Pressure
from sherd.shard.lsm.scan import ColumnPage, Page, PageRequest, count_page, scan_columns, scan_page
from sherd.shard.lsm.shard_time import ShardTime
from sherd.shard.lsm.snapshot import Snapshot, sources_cursor
from sherd.shard.lsm.status import status
from sherd.shard.lsm.steps import DiskWork, Steps, refreshed, run_steps
from sherd.shard.lsm.wal import Wal

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.engine_following import EngineFollowing
    from cython.cimports.sherd.shard.lsm.memtable import Memtable
else:
    from sherd.shard.lsm.engine_following import EngineFollowing
    from sherd.shard.lsm.memtable import Memtable

log = logging.getLogger("lsm")

SNAPSHOT_COPY_KEYS = 10_000  # up to here a snapshot copies the active memtable; above, it freezes it


@cython.cclass
class Engine(EngineFollowing):
    """Open with ``Engine.open``; the initializer takes what that has prepared."""

    @classmethod
    def open(
        cls,
        directory: str,
        options: EngineOptions,
        disk: Disk,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = os.urandom,
        term: int | None = None,
        follow: bool = False,
        read_only: bool = False,
        create: bool = True,
    ) -> Self:
        """Recover ``directory`` and start a new term in it.

        ``term`` None takes the next of its own; a given one must be above all that the directory has seen. With
        ``follow`` no term is started, and the records of another's log are taken until ``lead``. With ``read_only``
        nothing is changed and writes raise StoreReadOnly. Raises StoreLocked, StoreFormat, StoreReadOnly,
        StoreFull, StoreCorrupt (refused; names file and offset), else StoreError.
        """
        time = ShardTime(clock)
        opened = open_directory(
            directory, options, disk, time, random, term=term, follow=follow, read_only=read_only, create=create
        )
        return cls(directory, options, disk, clock, random, time, opened)

    # -- ranges ------------------------------------------------------------------------------------------------------

    def scan_page(
        self,
        start: bytes | None,
        end: bytes | None,
        reverse: bool = False,
        limit: int = 1 << 40,
        bytes_max: int = 1 << 18,
        keys_only: bool = False,
        meta: bool = False,
        examine_max: int = 1 << 40,
    ) -> Page:
        """A page of the live entries from ``start`` on and before ``end``, at one point in time; see ``scan.Page``.

        At least one row if there is one within ``examine_max`` entries, tombstones included.
        """
        if self._down is not None:
            raise self._refusal()
        request = PageRequest(start, end, reverse, limit, bytes_max, keys_only, meta, examine_max)
        try:
            return scan_page(self.cursor(), request, self.time.now_ms())
        except Corruption as error:
            self.installer.damage.met(error)
            raise

    def scan_columns(self, request: PageRequest) -> ColumnPage:
        """As ``scan_page``, for a reader in this process."""
        if self._down is not None:
            raise self._refusal()
        try:
            return scan_columns(self.cursor(), request, self.time.now_ms())
        except Corruption as error:
            self.installer.damage.met(error)
            raise

    def count_page(
        self, start: bytes | None, end: bytes | None, examine_max: int = 1 << 40
    ) -> tuple[int, bytes | None]:
        """(live keys, where to go on or None): looks at up to ``examine_max`` entries, tombstones included."""
        if self._down is not None:
            raise self._refusal()
        try:
            return count_page(self.cursor(), start, end, examine_max, self.time.now_ms())
        except Corruption as error:
            self.installer.damage.met(error)
            raise

    def cursor(self) -> Any:
        """A cursor over everything, tombstones included; it holds until the next write or installed job."""
        return sources_cursor((self._active, *self._frozen), self._version)

    def snapshot(self) -> Snapshot:
        """The store as it is now, kept until the snapshot is closed. Raises as ``put`` does if it has to roll."""
        self.commit()
        if len(self._active) > SNAPSHOT_COPY_KEYS:
            self.roll()
        memtables: tuple[Memtable, ...] = self._frozen
        for memtable in memtables:
            memtable.shared = True
        if 0 < len(self._active) <= SNAPSHOT_COPY_KEYS:
            memtables = (self._active.copy(), *memtables)
        return Snapshot(memtables, self.installer, self.time)

    # -- background work ---------------------------------------------------------------------------------------------

    @property
    def frozen_memtables(self) -> int:
        """How many memtables wait for their flush."""
        return len(self.upkeep.waiting)

    @property
    def unflushed_segments(self) -> int:
        """How many log segments a recovery would replay beside the one being written."""
        return sum(len(frozen.segments) for frozen in self.upkeep.waiting)

    def next_job(self, at_rest: bool = False) -> Any:
        """A job to run now (see ``jobs.run_job``), or None. ``at_rest``: also what tidies up an idle store (``rest``).

        At most one flush or preparation and one compaction are out at a time; give each back by ``install`` or
        ``job_failed``.
        """
        if self._down is not None or self.wal is None:
            return None
        if at_rest:
            self.upkeep.rest(self._active)
        if self.upkeep.wants_roll(self._active):
            try:
                self.roll()
            except StoreFull as error:
                log.warning("cannot roll the log: %s", error)
        return self.upkeep.next_job(at_rest, self._active)

    def install(self, job: Any, result: Any) -> None:
        """Put the files that ``job`` made in their place. StorePoisoned if that fails halfway."""
        run_steps(self.installing(job, result))
        self.upkeep.flushed.clear()
        self.installer.unlink_unheld()

    def installing(self, job: Any, result: Any) -> Steps[None]:
        """``install`` in steps, for a caller whose loop must not wait for the disk: one at a time, to the end.

        What that leaves is the caller's to remove at leisure: ``unlink_one``, ``free_some``.
        """
        if self._down is not None:
            raise self._refusal()
        try:
            yield from refreshed(self.upkeep.installing(job, result), self._refresh)
        except (OSError, StorePoisoned) as error:
            raise self._poison(error, "installing a job's files") from error
        self._refresh()

    @property
    def unheld_files(self) -> int:
        """How many files wait for ``unlink_one``."""
        return len(self.installer.unheld)

    def unlink_one(self) -> DiskWork:
        """Disk work, for any thread, that removes a file nobody holds any more. IndexError if there is none."""
        name: str = self.installer.unheld.popleft()
        return lambda: self.installer.discard([name])

    def free_some(self, entries: int) -> bool:
        """Free up to so many entries of memtables that have been flushed; whether some are left."""
        flushed: list[Memtable] = self.upkeep.flushed
        if flushed and not flushed[-1].forget(entries):
            flushed.pop()
        return bool(flushed)

    def job_failed(self, job: Any, error: Exception) -> None:
        """``job`` was not done; its temporaries are removed, its inputs kept, and it is tried again a little later."""
        self.upkeep.failed(job, error)

    def request_flush(self) -> int:
        """Have everything written so far flushed to tables soon; returns a token for ``flush_done``."""
        self.commit()
        return int(self.upkeep.request_flush(self.last_lsn))

    def flush_done(self, token: int) -> bool:
        """Whether what ``request_flush`` was asked for is in tables."""
        return bool(self.upkeep.flush_done(token, self._active))

    def request_compact(self) -> int:
        """Have everything flushed and compacted into the bottom level; returns a token for ``compact_done``."""
        self.commit()
        return int(self.upkeep.request_compact(self.last_lsn))

    def compact_done(self, token: int) -> bool:
        """Whether the compaction that ``request_compact`` asked for is finished."""
        return bool(self.upkeep.compact_done(token))

    @property
    def log_bytes(self) -> int:
        """Bytes written to the log since this process opened it."""
        return int(self.wal.bytes_written) if self.wal is not None else 0

    def pressure(self) -> Pressure:
        """How far background work is behind; cheap."""
        pressure: Pressure = self.upkeep.pressure(self._active.memory_bytes)
        return pressure

    def urgency(self) -> float:
        """How soon background work has to be done: 1 and more when writers are delayed. Cheap."""
        return float(self.upkeep.urgency(self._active.memory_bytes))

    # -- being followed ----------------------------------------------------------------------------------------------

    @property
    def log_segments(self) -> list[int]:
        """Numbers of the segments whose records a follower can be given, ascending; the last is being written."""
        kept = [segment.number for segment in self.upkeep.retention.segments]
        waiting = [number for frozen in self.upkeep.waiting for number in frozen.segments]
        return [*kept, *waiting, self.segment]

    def retain(self, lsn: int | None) -> None:
        """Keep the log from ``lsn`` on for followers, as far as ``retain_log_bytes`` goes; None keeps none for them."""
        self.upkeep.retention.needed_lsn = lsn

    @property
    def terms(self) -> list[tuple[int, int]]:
        """The history of the log: (term, its first LSN), ascending."""
        return list(self.installer.terms)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Shard time: milliseconds since the epoch, never running backwards."""
        return int(self.time.now_ms())

    @property
    def poisoned(self) -> bool:
        """Whether a write or fsync failed."""
        return isinstance(self._down, StorePoisoned)

    @property
    def damaged(self) -> int:
        """How often reads and background work have met damage since it was opened."""
        return int(self.installer.damage.reads + self.counters.corrupt_reads)

    def status(self) -> dict[str, object]:
        """What operators want to know, MessagePack-able; the names are those of ``sherd status``."""
        return status(self, self._active)

    def _end_log(self, wal: Wal) -> None:
        """Sync everything, and note in log and MANIFEST that it was."""
        try:
            wal.finish(self.term, self.time.now_ms())
            self.installer.write(clean_lsn=self.last_lsn)
        except StoreFull as error:  # the log says it too; the MANIFEST only makes a lost segment easier to notice
            log.warning("clean close not noted: %s", error)
        except (OSError, StorePoisoned) as error:
            raise self._poison(error, "ending the log") from error

    def close(self, clean: bool = True) -> None:
        """Commit, sync, note the clean close in the MANIFEST, and let go of everything. Harmless when repeated.

        With ``clean`` False, or when poisoned, nothing is written: the next start recovers. Errors are raised after
        the LOCK is released.
        """
        if isinstance(self._down, StoreClosed):
            return
        try:
            if clean and self._down is None and self.wal is not None:
                self.commit()
                self._end_log(self.wal)
        finally:
            self._down = StoreClosed(f"{self.directory} is closed")
            self._active, self._frozen = Memtable(), ()
            self.installer.unlink_unheld()
            if self.wal is not None:
                self.wal.close()
            self.installer.close()
            if self._lock is not None:
                self._lock.release()
