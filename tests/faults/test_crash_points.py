"""Crash at every I/O point, recover, and hold what came back against what was promised. FAULTS 1, 4, 8 to 12, 33, 34.

The runs are sized for the suite; the soak makes them longer and tries every way of cutting at every point. The
interpreted build recovers from a sample of the points.
"""

import pytest
from support.crash_disk import CrashDisk
from support.crash_run import Run, check_moments, check_nested, run_engine, run_store
from support.engine_run import COMPILED, DIRECTORY, NOTHING, contents, open_engine, run_jobs, stage
from support.history import History, Promise
from support.survival import SURVIVALS
from support.workload import KEYS, group_commits, single_calls, value_of

from sherd.shard.lsm.format import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, segment_name

pytestmark = pytest.mark.core

STRIDE = 1 if COMPILED else 9
NESTED_STRIDE = 7 if COMPILED else 67
POLICIES = ("always", "ops:1", "ops:7", "interval:100ms", "os")


def check_sees_everything(run: Run) -> None:
    """The run crashed in the middle of every kind of I/O there is."""
    seen = {(moment.operation.kind, moment.operation.path[-4:]) for moment in run.moments}
    assert seen >= {
        ("write", ".wal"),
        ("sync", ".wal"),
        ("allocate", ".tmp"),
        ("rename", ".wal"),
        ("rename", ".sst"),
        ("rename", "FEST"),
        ("sync_dir", "data"),
        ("unlink", ".wal"),
        ("unlink", ".sst"),
        ("truncate", ".wal"),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_group_commits_crashed_at_every_io_point(seed: int) -> None:
    run = run_engine(group_commits(seed, writes=120))
    check_sees_everything(run)
    assert check_moments(run, stride=STRIDE, offset=seed) >= len(run.moments) // STRIDE * 4


def test_installs_between_writes_crashed_at_every_io_point() -> None:
    """A shard goes on writing, and rolling its log, while the disk work of an install is under way."""
    run = run_engine(group_commits(seed=3, writes=120), slowly=True)
    check_sees_everything(run)
    assert check_moments(run, stride=STRIDE, offset=3) >= len(run.moments) // STRIDE * 4


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_keeps_its_promise_at_every_io_point(policy: str) -> None:
    run = run_store(single_calls(seed=3, writes=80), policy)
    check_sees_everything(run)
    assert check_moments(run, stride=STRIDE, offset=POLICIES.index(policy)) >= len(run.moments) // STRIDE * 4


def test_the_recovery_crashed_at_every_io_point() -> None:
    run = run_engine(group_commits(seed=2, writes=80))
    assert check_nested(run, stride=NESTED_STRIDE) > 100


def test_a_cut_that_was_interrupted_does_not_grow_back() -> None:  # FAULTS 12
    """Recovery cuts the only record of a segment, is killed before the fsync; the next one succeeds; the power goes."""
    disk, history = CrashDisk(), History()
    engine = open_engine(disk)
    run_jobs(engine, disk)
    first = engine.segment
    while engine.segment == first:
        history.begin([(KEYS[0], value_of(0, 2000))])
        stage(engine, list(history.groups[-1].changes))
        engine.commit()
    path = f"{DIRECTORY}/{segment_name(engine.segment)}"
    data = bytearray(disk.read(path))
    data[SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES] ^= 1
    disk.replace(path, bytes(data))
    torn = CrashDisk(disk.image())
    moments = Run(history)
    moments.watch(torn, lambda: Promise(0, 0, 0))
    expected = contents(open_engine(torn, seed=1))
    interrupted = next(m for m in moments.moments if (m.operation.kind, m.operation.path) == ("sync", path))
    again = CrashDisk(interrupted.image)
    assert contents(open_engine(again, seed=2)) == expected
    assert contents(open_engine(CrashDisk(again.image().power_cut(NOTHING)), seed=3)) == expected


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_long_runs_crashed_at_every_io_point(seed: int) -> None:
    run = run_engine(group_commits(seed, writes=400))
    check_moments(run, cuts=len(SURVIVALS))
    check_nested(run, stride=7, cuts=3, seed=seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200, 205))
@pytest.mark.parametrize("policy", POLICIES)
def test_long_runs_of_each_policy_crashed_at_every_io_point(policy: str, seed: int) -> None:
    run = run_store(single_calls(seed, writes=400), policy)
    check_moments(run, cuts=len(SURVIVALS))
    check_nested(run, stride=7, cuts=3, seed=seed)
