"""Back-pressure: nothing while background work keeps up, then smooth, then OVERLOADED."""

from itertools import pairwise

import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, contents, open_engine, orphans, run_jobs
from support.workload import value_of

from sherd.common.errors import Conflict, Overloaded
from sherd.shard.lsm.format import KIND_PUT
from sherd.shard.lsm.job_types import FlushJob
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.pressure import (
    DELAY_SECONDS_MAX,
    FROZEN_MEMTABLES_MAX,
    NO_PRESSURE,
    SMALL_FROZEN_MAX,
    SMALL_MEMORY_BYTES,
    Pressure,
    may_freeze,
    pressure,
    urgency,
)

pytestmark = pytest.mark.core

KIB, MIB = 1 << 10, 1 << 20
OPTIONS = EngineOptions(memtable_bytes=32 * MIB)


def at(frozen: int = 0, active: float = 0.0, level0: int = 0, pending: int = 0) -> Pressure:
    return pressure(
        OPTIONS,
        frozen=frozen,
        frozen_bytes=frozen * OPTIONS.memtable_bytes,
        active_bytes=int(active * OPTIONS.memtable_bytes),
        level0_tables=level0,
        pending_bytes=pending,
    )


def test_no_delay_in_ordinary_work() -> None:
    assert at() == NO_PRESSURE
    assert at(frozen=1, active=1.0) == NO_PRESSURE
    assert at(level0=OPTIONS.level0_tables_compact + 2) == NO_PRESSURE
    assert at(pending=OPTIONS.pending_bytes_slow) == NO_PRESSURE


def urgency_at(frozen: int = 0, active: float = 0.0, level0: int = 0, pending: int = 0) -> float:
    return urgency(
        OPTIONS,
        frozen=frozen,
        active_bytes=int(active * OPTIONS.memtable_bytes),
        level0_tables=level0,
        pending_bytes=pending,
    )


def test_work_is_urgent_where_the_delays_begin() -> None:
    assert urgency_at(active=1.0) == 0.0  # nothing waits
    assert 0.5 <= urgency_at(frozen=1) < urgency_at(frozen=1, active=0.5) < 1.0
    assert urgency_at(frozen=2) == 1.0
    assert urgency_at(level0=OPTIONS.level0_tables_slow - 1) < 1.0 == urgency_at(level0=OPTIONS.level0_tables_slow)
    assert urgency_at(pending=OPTIONS.pending_bytes_slow - 1) < 1.0 == urgency_at(pending=OPTIONS.pending_bytes_slow)


def test_overloaded_only_at_a_hard_limit() -> None:
    assert not at(frozen=2, active=0.99).overloaded
    assert at(frozen=2, active=1.0).overloaded
    assert not at(level0=OPTIONS.level0_tables_stop - 1).overloaded
    assert at(level0=OPTIONS.level0_tables_stop).overloaded
    assert at(pending=OPTIONS.pending_bytes_stop).overloaded


def test_the_delay_grows_from_nothing_without_a_cliff() -> None:
    delays = [at(frozen=2, active=step / 100).delay_seconds for step in range(101)]
    assert delays == sorted(delays)
    assert delays[0] == 0.0
    assert delays[1] < 0.001
    assert delays[-1] == DELAY_SECONDS_MAX
    steps = [later - earlier for earlier, later in pairwise(delays)]
    assert max(steps) < DELAY_SECONDS_MAX / 40


def test_the_worst_debt_decides() -> None:
    assert at(frozen=2, active=0.5, level0=13).delay_seconds == at(frozen=2, active=0.5).delay_seconds


class Writer:
    """Values of one size into memtables of another; the memory, the delays, and the first refusal."""

    def __init__(self, memtable_bytes: int, value_bytes: int) -> None:
        self.options = EngineOptions(memtable_bytes=memtable_bytes)
        self.value_bytes = value_bytes
        self.frozen: list[int] = []
        self.active = 0
        self.most = 0

    def pressure(self) -> Pressure:
        return pressure(
            self.options,
            frozen=len(self.frozen),
            frozen_bytes=sum(self.frozen),
            active_bytes=self.active,
            level0_tables=0,
            pending_bytes=0,
        )

    def write(self) -> bool:
        """Whether the engine takes one value more."""
        if self.pressure().overloaded:
            return False
        if self.active >= self.options.memtable_bytes or self.active + self.value_bytes > self.options.memtable_bytes:
            if not may_freeze(self.options, len(self.frozen), sum(self.frozen) + self.active, self.value_bytes):
                return False
            if self.active:
                self.frozen.append(self.active)
            self.active = 0
        self.active += self.value_bytes
        self.most = max(self.most, sum(self.frozen) + self.active)
        return True


SIZES = [
    (memtable, value)
    for memtable in (16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB)
    for value in (10 * KIB, 100 * KIB, MIB, 3 * MIB, 8 * MIB)
]


@pytest.mark.parametrize(("memtable_bytes", "value_bytes"), SIZES)
def test_a_writer_is_slowed_before_it_is_refused(memtable_bytes: int, value_bytes: int) -> None:
    """Nothing is ever flushed: the delay rises from write to write, and is long by the time of the refusal."""
    writer = Writer(memtable_bytes, value_bytes)
    delays = []
    while writer.write():
        delays.append(writer.pressure().delay_seconds)
    assert delays == sorted(delays)
    assert delays[0] == 0.0
    before = [delay for delay in delays if delay < DELAY_SECONDS_MAX]
    assert before[-1] >= DELAY_SECONDS_MAX / 5, "from next to nothing to a refusal"
    assert len(writer.frozen) <= SMALL_FROZEN_MAX
    assert writer.most <= max(3 * max(memtable_bytes, value_bytes), SMALL_MEMORY_BYTES)


@pytest.mark.parametrize(
    ("memtable_bytes", "value_bytes", "writers"),
    [(*sizes, 1) for sizes in SIZES] + [(*sizes, 4) for sizes in SIZES if sizes[1] <= 3 * MIB],
)
def test_steady_writers_come_to_the_pace_of_the_flushes(memtable_bytes: int, value_bytes: int, writers: int) -> None:
    """A flush takes 30 ms and 10 ms a MiB of memory; between writes there is nothing but the delay."""
    writer = Writer(memtable_bytes, value_bytes)
    now, flush_ends, flushing = 0.0, 0.0, 0
    for _ in range(3000):
        if flushing and now >= flush_ends:
            del writer.frozen[:flushing]
            flushing = 0
        if not flushing and writer.frozen:
            flushing = max(1, sum(sum(writer.frozen[: n + 1]) <= 8 * MIB for n in range(len(writer.frozen))))
            flush_ends = now + 0.03 + 0.01 * sum(writer.frozen[:flushing]) / MIB
        assert writer.write(), f"refused at {now:.3f} s with {len(writer.frozen)} waiting"
        now += 0.0001 + writer.pressure().delay_seconds / writers


def test_two_full_memtables_wait_and_many_small_ones() -> None:
    assert may_freeze(OPTIONS, 1, 3 * OPTIONS.memtable_bytes)
    assert not may_freeze(OPTIONS, FROZEN_MEMTABLES_MAX, 3 * OPTIONS.memtable_bytes)
    assert not may_freeze(OPTIONS, FROZEN_MEMTABLES_MAX, 1000)  # each has a log segment of its full size
    small = EngineOptions(memtable_bytes=64 * KIB)
    assert may_freeze(small, SMALL_FROZEN_MAX - 1, 3 * MIB)
    assert not may_freeze(small, SMALL_FROZEN_MAX, 3 * MIB)
    assert may_freeze(small, FROZEN_MEMTABLES_MAX, 10 * MIB)
    assert not may_freeze(small, FROZEN_MEMTABLES_MAX, 10 * MIB, needed=15 * MIB)


def test_an_empty_memtable_behind_a_large_one_takes_its_segment_along() -> None:
    """A batch that was refused has made room for itself, and a larger value then takes other room."""
    disk, options = CrashDisk(), EngineOptions(memtable_bytes=64 * KIB)
    engine = open_engine(disk, options)
    engine.put(b"a", value_of(1, 9 * MIB))
    with pytest.raises(Conflict):
        engine.batch([(KIND_PUT, b"b", value_of(2, 9 * MIB), 0, -1), (KIND_PUT, b"c", b"\x01", 0, 77)])
    engine.put(b"d", value_of(3, 12 * MIB))
    engine.commit()
    assert [len(frozen.memtable) for frozen in engine.upkeep.waiting][-2:] == [1, 0]
    run_jobs(engine, disk, options)
    assert orphans(disk) == []
    assert engine.frozen_memtables == 0
    assert set(contents(engine)) == {b"a", b"d"}
    engine.close()


def test_small_memtables_that_wait_are_flushed_together() -> None:
    disk, options = CrashDisk(), EngineOptions(memtable_bytes=64 * KIB)
    engine = open_engine(disk, options)
    run_jobs(engine, disk, options)
    delays = [0.0]
    expected = {}
    for number in range(100):
        key = b"k%02d" % number
        try:
            expected[key] = engine.put(key, value_of(number, 100_000))
        except Overloaded:
            break
        engine.commit()
        delays.append(engine.pressure().delay_seconds)
    assert engine.frozen_memtables == SMALL_FROZEN_MAX
    assert delays == sorted(delays)
    assert delays[-2] > 0.2 * DELAY_SECONDS_MAX
    assert run_jobs(engine, disk, options, 1) == 1  # the next segment
    job = engine.next_job()
    assert isinstance(job, FlushJob)
    assert len(job.segments) == SMALL_FROZEN_MAX
    engine.install(job, run_job(job, DIRECTORY, disk, options))
    assert engine.frozen_memtables == 0
    assert engine.pressure() == NO_PRESSURE
    assert orphans(disk) == []
    assert engine.status()["tables"] == 1
    for key, version in expected.items():
        entry = engine.get(key)
        assert entry is not None
        assert entry.lsn == version
    engine.close()
