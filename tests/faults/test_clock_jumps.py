"""The wall clock jumps: expiry never runs backwards, and nothing that expired shows again. FAULTS 15."""

import pytest
from support.crash_disk import CrashDisk
from support.engine_run import contents, open_engine, run_jobs, sync
from support.workload import value_of

from sherd.common.clock import ManualClock

pytestmark = pytest.mark.core

HOUR_MS = 3_600_000


def test_an_expired_key_stays_gone_when_the_clock_is_set_back() -> None:
    clock = ManualClock()
    engine = open_engine(CrashDisk(), clock=clock)
    engine.put(b"k", value_of(1, 10), clock.wall_ms + 1000)
    engine.commit()
    clock.advance(2)
    assert engine.get(b"k") is None
    clock.wall_ms -= HOUR_MS
    assert engine.get(b"k") is None
    assert contents(engine) == {}


def test_shard_time_goes_on_from_the_log_after_a_restart() -> None:
    disk, clock = CrashDisk(), ManualClock()
    engine = open_engine(disk, clock=clock)
    engine.put(b"k", value_of(1, 10), clock.wall_ms + 1000)
    engine.commit()
    clock.advance(2)
    engine.put(b"later", value_of(2, 10))
    engine.commit()
    clock.wall_ms -= HOUR_MS
    again = open_engine(CrashDisk(disk.image()), clock=clock, seed=1)
    assert set(contents(again)) == {b"later"}, "the log says that k had expired"


@pytest.mark.parametrize("compacted", [False, True])
def test_shard_time_goes_on_from_the_tables_when_the_log_is_gone(compacted: bool) -> None:
    disk, clock = CrashDisk(), ManualClock()
    engine = open_engine(disk, clock=clock)
    engine.put(b"k", value_of(1, 10), clock.wall_ms + 1000)
    engine.commit()
    clock.advance(2)
    engine.put(b"later", value_of(2, 10))
    engine.commit()
    engine.request_flush()
    run_jobs(engine, disk)
    if compacted:
        engine.request_compact()
        run_jobs(engine, disk)
    engine.close(True)
    clock.wall_ms -= HOUR_MS
    again = open_engine(CrashDisk(disk.image()), clock=clock, seed=1)
    assert set(contents(again)) == {b"later"}


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_an_expired_entry_never_uncovers_an_older_version(jump_ms: int) -> None:
    disk, clock = CrashDisk(), ManualClock()
    engine = open_engine(disk, clock=clock)
    for number, expiry_ms in enumerate((0, clock.wall_ms + 1000)):
        engine.put(b"k", value_of(number, 10), expiry_ms)
        engine.put(bytes([97 + number]) * 9, value_of(number, 10))
        engine.commit()
        engine.request_flush()
        run_jobs(engine, disk)
    clock.advance(5)
    engine.put(b"tick", value_of(3, 10))
    engine.commit()
    assert engine.get(b"k") is None
    clock.wall_ms += jump_ms
    engine.request_compact()
    run_jobs(engine, disk)
    assert engine.get(b"k") is None
    engine.close(True)
    again = open_engine(CrashDisk(disk.image()), clock=clock, seed=1)
    assert again.get(b"k") is None
    assert b"k" not in contents(again)


def test_a_jump_ahead_that_was_never_logged_removes_nothing_for_good() -> None:
    """Compaction judges by logged time: a clock that was wrong for a moment destroys no data."""
    disk, clock = CrashDisk(), ManualClock()
    engine = open_engine(disk, clock=clock)
    engine.put(b"k", value_of(1, 10), clock.wall_ms + 10 * 1000)
    engine.commit()
    engine.request_flush()
    run_jobs(engine, disk)
    clock.wall_ms += HOUR_MS
    engine.request_compact()
    run_jobs(engine, disk)
    sync(engine)
    clock.wall_ms -= HOUR_MS
    again = open_engine(CrashDisk(disk.image()), clock=clock, seed=1)
    assert again.get(b"k") is not None
