"""Steps: who waits for the disk. What an engine does between two pieces of disk work touches memory alone."""

import errno

import pytest
from support.crash_disk import CrashDisk, Fault
from support.engine_run import DIRECTORY, TINY, contents, open_engine, run_jobs
from support.workload import value_of

from sherd.common.errors import StorePoisoned
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import segment_name
from sherd.shard.lsm.job_types import CompactJob, FlushJob, MoveJob, PrepareJob
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.steps import DiskWork, Steps, refreshed, run_steps

pytestmark = pytest.mark.core


def three(done: list[str]) -> Steps[str]:
    """Two pieces of work, the second of which may fail and is then made up for."""
    yield lambda: done.append("first")
    try:
        yield fail if "fail" in done else lambda: done.append("second")
    except OSError:
        yield lambda: done.append("instead")
    return "result"


def fail() -> None:
    raise OSError(errno.EIO, "no")


def test_all_pieces_are_done_in_order() -> None:
    done: list[str] = []
    assert run_steps(three(done)) == "result"
    assert done == ["first", "second"]


def test_an_error_goes_back_to_where_the_work_came_from() -> None:
    done = ["fail"]
    assert run_steps(three(done)) == "result"
    assert done == ["fail", "first", "instead"]


def test_an_error_that_is_not_made_up_for_comes_out() -> None:
    def steps() -> Steps[None]:
        yield fail

    with pytest.raises(OSError, match="no"):
        run_steps(steps())


def test_readers_are_told_before_each_piece() -> None:
    done: list[str] = []
    assert run_steps(refreshed(three(done), lambda: done.append("told"))) == "result"
    assert done == ["told", "first", "told", "second"]
    done[:] = ["fail"]
    assert run_steps(refreshed(three(done), lambda: done.append("told"))) == "result"
    assert done == ["fail", "told", "first", "told", "told", "instead"]


class Loop:
    """An engine whose disk work is told from what its event loop does itself."""

    def __init__(self) -> None:
        self.disk = CrashDisk()
        self.engine: Engine = open_engine(self.disk)
        self.kinds: set[type] = set()
        self.written = 0

    def on_loop(self, job_or_work: object) -> None:
        """Called after each turn of the engine's own: the log may have been written, nothing else."""
        for operation in self.disk.operations[self.written :]:
            assert operation.kind == "write", f"the loop waited for {operation} before {job_or_work}"
            assert operation.path.endswith(".wal"), f"the loop waited for {operation} before {job_or_work}"
        self.written = len(self.disk.operations)

    def off_loop(self, work: DiskWork) -> None:
        work()
        self.written = len(self.disk.operations)

    def work(self, at_rest: bool = False) -> None:
        """Do the jobs that are due."""
        self.written = len(self.disk.operations)
        while (job := self.engine.next_job(at_rest)) is not None:
            self.on_loop(job)
            self.kinds.add(type(job))
            result = run_job(job, DIRECTORY, self.disk, TINY)
            self.written = len(self.disk.operations)
            for work in self.engine.installing(job, result):
                self.on_loop(work)
                self.off_loop(work)
            self.on_loop("the end")


def test_the_loop_never_waits_for_the_disk() -> None:
    """Flushes, compactions, moves and prepared segments; requested and due by themselves."""
    loop = Loop()
    engine = loop.engine
    expected = {}
    for number in range(600):  # ascending keys are moved, and those that come again merged
        key, value = b"%03d" % (number % 400), b"\xc4\x64" + bytes(100)
        expected[key] = (value, engine.put(key, value))
        if number % 40 == 39:
            engine.commit()
            engine.request_flush()
            loop.work()
    engine.request_compact()
    loop.work()
    loop.work(at_rest=True)
    assert loop.kinds == {FlushJob, CompactJob, MoveJob, PrepareJob}
    assert contents(engine) == expected
    engine.close()


def test_a_log_that_rolls_while_a_segment_gets_its_name_goes_on_in_order() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    job = engine.next_job()
    assert isinstance(job, PrepareJob)
    steps = engine.installing(job, run_job(job, DIRECTORY, disk, TINY))
    next(steps)()
    before = engine.segment
    while engine.segment == before:
        engine.put(b"k%d" % engine.last_lsn, value_of(0, 500))
    engine.commit()
    assert engine.segment > job.number
    run_steps(steps)
    assert not disk.exists(f"{DIRECTORY}/{segment_name(job.number)}")
    expected = contents(engine)
    run_jobs(engine, disk)
    assert contents(engine) == expected
    again = open_engine(CrashDisk(disk.image()), seed=1)
    assert contents(again) == expected
    again.close()
    engine.close()


@pytest.mark.parametrize("kind", ["rename", "sync_dir"])
def test_a_segment_that_can_not_be_named_poisons(kind: str) -> None:  # FAULTS 5
    disk = CrashDisk()
    engine = open_engine(disk)
    job = engine.next_job()
    result = run_job(job, DIRECTORY, disk, TINY)
    disk.faults.append(Fault(kind, errno.EIO))
    with pytest.raises(StorePoisoned, match="Input/output"):
        engine.install(job, result)
    assert engine.poisoned
    engine.close(clean=False)
