"""What background work is due, and putting its results in place.

At most one flush or preparation and one compaction are out at a time. Flushes go in the order the memtables froze, so
the log can be given up from its old end. A job that failed changes nothing and is tried again after a pause, which
doubles while it goes on failing (a full disk, a damaged table): the log and all inputs are kept meanwhile, and
back-pressure tells writers.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from sherd.common.clock import Clock
from sherd.common.disk import Disk
from sherd.common.errors import StoreFull
from sherd.common.limits import MIB
from sherd.shard.lsm.frozen import FrozenMemtable
from sherd.shard.lsm.installer import Installer
from sherd.shard.lsm.job_types import (
    CompactJob,
    CompactResult,
    FlushJob,
    FlushResult,
    Job,
    JobResult,
    MoveJob,
    MoveResult,
    OutputTable,
    PrepareJob,
    PrepareResult,
    temporaries_of,
)
from sherd.shard.lsm.lane import Lane
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.picker import Levels, Pick, pending_bytes, pick, pick_full
from sherd.shard.lsm.pressure import FROZEN_MEMTABLES_MAX, Pressure, may_freeze, pressure, urgency
from sherd.shard.lsm.rest import flush_at_rest, pick_at_rest
from sherd.shard.lsm.retention import KeptSegment, Retention
from sherd.shard.lsm.shard_time import ShardTime
from sherd.shard.lsm.status import Counters
from sherd.shard.lsm.steps import Steps
from sherd.shard.lsm.wal import Wal

log = logging.getLogger("lsm")

FLUSH_TOGETHER_BYTES = 8 * MIB
"""Small memtables that wait are flushed together, up to so much memory: fewer fsyncs, and fewer tables."""


class Upkeep:
    """``waiting`` are the frozen memtables, oldest first. ``wal`` is None in an engine opened to be read only."""

    def __init__(
        self,
        options: EngineOptions,
        wal: Wal | None,
        installer: Installer,
        waiting: list[FrozenMemtable],
        time: ShardTime,
        counters: Counters,
        clock: Clock,
        disk: Disk,
        directory: str,
        random: Callable[[int], bytes],
        kept: Iterable[KeptSegment] = (),
    ) -> None:
        self._options = options
        self._wal = wal
        self._installer = installer
        self._time = time
        self._counters = counters
        self._disk = disk
        self._directory = directory
        self._incarnation = random(8).hex()
        self._job_id = 0
        self._installing = False
        self._short = Lane("flush", clock)  # and preparing segments
        self._long = Lane("compaction", clock)  # and moves
        self._flush_lsn = 0  # requested up to here
        self._compact_token = 0  # requested compactions
        self._compacted = 0  # those of them that are finished
        self._compact_lsn = 0  # what has to be flushed before
        self._compact_floor = 0  # the level it has come to
        self._compact_before_number = 0  # tables from here on are its own work
        self._levels: Levels = ()
        self._due: Pick | None = None  # what the levels themselves ask for
        self._tidy_beside: int | None = None  # at rest the levels are as they should be beside so many in memory
        self.retention = Retention(options.retain_log_bytes, kept)
        self.flushes_held = (
            False  # what waits may still have to be cut from the log, which is cheap before a flush only
        )
        self.disk_full = False  # the last flush or preparation failed for want of room
        self._pending_bytes = 0
        self.waiting = waiting
        self.flushed: list[Memtable] = []  # nobody reads them any more; to be freed at leisure
        self._measure()

    # -- choosing ----------------------------------------------------------------------------------------------------

    def add(self, frozen: FrozenMemtable) -> None:
        """A memtable froze."""
        self.waiting.append(frozen)

    def may_freeze(self, active_bytes: int, needed: int) -> bool:
        """Whether there is room for the active memtable to wait too, and for ``needed`` bytes in the next."""
        return may_freeze(self._options, len(self.waiting), self._waiting_bytes + active_bytes, needed)

    @property
    def _waiting_bytes(self) -> int:
        return sum(frozen.memtable.memory_bytes for frozen in self.waiting)

    def rest(self, active: Memtable) -> None:
        """Nobody writes: have the memtable flushed if it keeps much of the tables from being given back."""
        if len(active) and not self.waiting and flush_at_rest(self._levels, len(active)):
            self.request_flush(active.last_lsn)

    def wants_roll(self, active: Memtable) -> bool:
        """Whether a requested flush needs the active memtable frozen, and nothing has to be waited for to do it."""
        if not 0 < active.first_lsn <= self._flush_lsn or self._wal is None:
            return False
        return self._wal.prepared is not None and len(self.waiting) < FROZEN_MEMTABLES_MAX

    def next_job(self, at_rest: bool, active: Memtable) -> Job | None:
        """The most urgent job that may go out now; ``active`` is the engine's memtable."""
        if self._installing:
            return None  # what to do next is known when that is in place
        for lane, choose in (
            (self._short, self._next_short),
            (self._long, lambda: self._next_compaction(at_rest, active)),
        ):
            if lane.open:
                lane.job = choose()
                if lane.job is not None:
                    return lane.job
        return None

    def _next_short(self) -> Job | None:
        wal = self._wal
        if wal is None:
            return None
        if wal.prepared is None:
            number = self._installer.next_number()
            return PrepareJob(self._next_id(), self._incarnation, number, wal.capacity, wal.salt_bits())
        if not self.waiting or self.flushes_held:
            return None
        segments: list[int] = []
        memory_bytes = 0
        for frozen in self.waiting:
            memory_bytes += frozen.memtable.memory_bytes
            if segments and memory_bytes > max(self._options.memtable_bytes, FLUSH_TOGETHER_BYTES):
                break
            segments += frozen.segments
            end_lsn = frozen.last_lsn
        first_lsn = self._installer.manifest.flushed_lsn + 1
        return FlushJob(self._next_id(), self._incarnation, tuple(segments), first_lsn, end_lsn)

    def _next_compaction(self, at_rest: bool, active: Memtable) -> Job | None:
        picked = self._pick(at_rest, active)
        if picked is None:
            return None
        if picked.move:
            return MoveJob(self._next_id(), self._incarnation, picked.upper, picked.output_level)
        return self._compact_job(picked)

    def _pick(self, at_rest: bool, active: Memtable) -> Pick | None:
        if self._due is not None:
            return self._due
        if self._compacted < self._compact_token:
            return self._pick_requested(active)
        if not at_rest or self._tidy_beside == len(active):
            return None
        picked = pick_at_rest(self._levels, self._options, len(active))
        self._tidy_beside = len(active) if picked is None else None
        return picked

    def _pick_requested(self, active: Memtable) -> Pick | None:
        if not self.flush_done(self._compact_lsn, active):
            return None
        picked, self._compact_floor = pick_full(
            self._levels, self._options, self._compact_floor, self._compact_before_number
        )
        if picked is None:
            self._compacted = self._compact_token
        return picked

    def _compact_job(self, picked: Pick) -> CompactJob:
        runs: list[tuple[TableMeta, ...]] = []
        if picked.upper[0].level == 0:
            runs.extend((table,) for table in picked.upper)
        else:
            runs.append(picked.upper)
        if picked.lower:
            runs.append(picked.lower)
        older = tuple(
            (table.smallest, table.largest) for level in self._levels[picked.output_level + 1 :] for table in level
        )
        below = () if picked.bottom else self._levels[picked.output_level + 1]
        return CompactJob(
            self._next_id(),
            self._incarnation,
            tuple(runs),
            picked.output_level,
            older,
            self._time.logged_ms,
            self._options.table_bytes,
            tuple(table.smallest for table in below),
        )

    def _next_id(self) -> int:
        self._job_id += 1
        return self._job_id

    # -- results -----------------------------------------------------------------------------------------------------

    def installing(self, job: Job, result: JobResult) -> Steps[None]:
        """Put the outputs of a finished job in place. StoreFull counts as a failed job; StorePoisoned is final."""
        lane = self._lane(job)
        if lane.job is not job or self._installing:
            raise ValueError("this job is not out, or another is being installed")
        self._installing = True
        try:
            yield from self._install(job, result, lane)
        finally:
            self._installing = False

    def _install(self, job: Job, result: JobResult, lane: Lane) -> Steps[None]:
        try:
            if isinstance(job, FlushJob) and isinstance(result, FlushResult):
                yield from self._flushed(job, result)
            elif isinstance(job, CompactJob) and isinstance(result, CompactResult):
                yield from self._compacted_tables(job, result)
            elif isinstance(job, MoveJob) and isinstance(result, MoveResult):
                yield from self._moved(job)
            elif isinstance(job, PrepareJob) and isinstance(result, PrepareResult) and self._wal is not None:
                yield from self._wal.adopting(job.number, f"{self._directory}/{result.temporary}")
            else:
                raise ValueError("the result belongs to another kind of job")
        except StoreFull as error:
            self.failed(job, error)
            return
        lane.done()
        if lane is self._short:
            self.disk_full = False

    def failed(self, job: Job, error: Exception) -> None:
        """A job was not done."""
        log.warning("job failed kind=%s id=%d error=%s", type(job).__name__, job.id, error)
        self._counters.job_failed(error)
        self._installer.discard(temporaries_of(job, self._disk.listdir(self._directory)))
        lane = self._lane(job)
        lane.failed(error)
        if lane is self._short:
            self.disk_full = isinstance(error, StoreFull)

    @property
    def failing(self) -> list[dict[str, object]]:
        """What background work does not get done at present: ``work``, ``times`` it failed in a row, and ``error``."""
        return [
            {"work": lane.name, "times": lane.failures, "error": lane.error}
            for lane in (self._short, self._long)
            if lane.failures
        ]

    @property
    def failed_seconds_ago(self) -> float | None:
        """How long ago a job failed last; None if none did."""
        found = (self._short.failed_seconds_ago, self._long.failed_seconds_ago)
        return min((seconds for seconds in found if seconds is not None), default=None)

    def _lane(self, job: Job) -> Lane:
        return self._long if isinstance(job, (CompactJob, MoveJob)) else self._short

    def _flushed(self, job: FlushJob, result: FlushResult) -> Steps[None]:
        """The oldest waiting memtables are in these tables: the log begins with what follows them."""
        added = yield from self._named(result.tables, 0)
        done = sum(set(job.segments).issuperset(frozen.segments) for frozen in self.waiting)
        kept, surplus = self.retention.plan(
            KeptSegment(number, frozen.last_lsn, self._segment_bytes())
            for frozen in self.waiting[:done]
            for number in frozen.segments
        )
        following = [number for later in self.waiting[done:] for number in later.segments]
        first = following[0] if following else self._wal_number()
        manifest = self._installer.manifest
        yield from self._installer.replacing_tables(
            (),
            added,
            first_segment=first,
            kept_segment=kept[0].number if kept else first,
            flushed_lsn=job.end_lsn,
            terms=self._installer.terms_until(job.end_lsn),
            logged_ms=max(manifest.logged_ms, result.logged_ms),
        )
        self.flushed.extend(frozen.memtable for frozen in self.waiting[:done] if not frozen.memtable.shared)
        del self.waiting[:done]
        self.retention.segments = kept
        self._installer.drop_segments(surplus)
        self._counters.flushed(sum(table.bytes for table in added))
        self._measure()

    def _compacted_tables(self, job: CompactJob, result: CompactResult) -> Steps[None]:
        added = yield from self._named(result.tables, job.output_level)
        yield from self._installer.replacing_tables([table.number for table in job.inputs], added)
        self._counters.compacted(result.read_bytes, sum(table.bytes for table in added))
        self._measure()

    def _moved(self, job: MoveJob) -> Steps[None]:
        moved = [replace(table, level=job.output_level) for table in job.tables]
        yield from self._installer.replacing_tables([table.number for table in job.tables], moved)
        self._measure()

    def _named(self, outputs: tuple[OutputTable, ...], level: int) -> Steps[list[TableMeta]]:
        numbers = [self._installer.next_number() for _ in outputs]
        yield from self._installer.naming_tables([output.temporary for output in outputs], numbers)
        return [output.meta(number, level) for output, number in zip(outputs, numbers, strict=True)]

    def _segment_bytes(self) -> int:
        return 0 if self._wal is None else self._wal.capacity

    def _wal_number(self) -> int:
        if self._wal is None:
            raise RuntimeError("a store opened to be read only flushes nothing")
        return self._wal.number

    # -- requests and state ------------------------------------------------------------------------------------------

    def request_flush(self, last_lsn: int) -> int:
        """Everything up to ``last_lsn`` is to be flushed."""
        self._flush_lsn = max(self._flush_lsn, last_lsn)
        return last_lsn

    def flush_done(self, token: int, active: Memtable) -> bool:
        """Whether everything up to LSN ``token`` is in tables."""
        if token <= self._installer.manifest.flushed_lsn:
            return True
        return not self.waiting and not 0 < active.first_lsn <= token

    def request_compact(self, last_lsn: int) -> int:
        """Everything up to ``last_lsn`` is to be flushed, then all levels compacted into the bottom."""
        self.request_flush(last_lsn)
        self._compact_lsn = last_lsn
        self._compact_floor = 0
        self._compact_before_number = self._installer.next_number()
        self._compact_token += 1
        return self._compact_token

    def compact_done(self, token: int) -> bool:
        """Whether the requested compaction is finished."""
        return token <= self._compacted

    def pressure(self, active_bytes: int) -> Pressure:
        """See pressure.py."""
        return pressure(
            self._options,
            frozen=len(self.waiting),
            frozen_bytes=self._waiting_bytes,
            active_bytes=active_bytes,
            level0_tables=len(self._levels[0]),
            pending_bytes=self._pending_bytes,
        )

    def urgency(self, active_bytes: int) -> float:
        """See pressure.py."""
        return urgency(
            self._options,
            frozen=len(self.waiting),
            active_bytes=active_bytes,
            level0_tables=len(self._levels[0]),
            pending_bytes=self._pending_bytes,
        )

    def _measure(self) -> None:
        """Take over the tables of a new version."""
        self._levels = self._installer.version.metas()
        self._pending_bytes = pending_bytes(self._levels, self._options)
        self._due = pick(self._levels, self._options)
        self._tidy_beside = None

    @property
    def pending_bytes(self) -> int:
        """Bytes that compaction is behind."""
        return self._pending_bytes
