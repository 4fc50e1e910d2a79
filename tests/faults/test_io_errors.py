"""An error from every I/O operation in turn, once or from then on: never a wrong answer, never a lost acknowledgement.

The engine goes on, refuses, or poisons itself; whatever it does, what it acknowledged is there after a restart, and
what it called synced is there after a power cut. FAULTS 5, 6, 7, 8, 12.
"""

import errno

import pytest
from support.crash_disk import CrashDisk, Fault
from support.crash_run import run_engine
from support.engine_run import COMPILED, DIRECTORY, NOTHING, TINY, contents, open_engine, orphans, stage, sync
from support.history import History
from support.workload import Step, group_commits

from sherd.common.clock import ManualClock
from sherd.common.errors import Overloaded, StoreError, StoreFull, StorePoisoned
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.jobs import run_job

pytestmark = pytest.mark.core

STRIDE = 1 if COMPILED else 7
WRITES = 60
STEPS = tuple(group_commits(seed=5, writes=WRITES))


class Survivor:
    """Plays a workload on a disk that fails, as a careful caller does; stops when the engine is poisoned."""

    def __init__(self, disk: CrashDisk) -> None:
        self.disk = disk
        self.history = History()
        self.clock = ManualClock()
        self.synced_lsn = 0
        self.engine: Engine | None = None

    def play(self) -> None:
        try:
            self.engine = open_engine(self.disk, clock=self.clock)
            for step in STEPS:
                self.clock.advance(1)
                self.take(self.engine, step)
                self.synced_lsn = self.engine.synced_lsn
            self.engine.close(True)
            self.synced_lsn = 1 << 63
        except (StorePoisoned, OSError):
            return
        except StoreError:
            assert self.engine is None, "only a start is refused"

    def take(self, engine: Engine, step: Step) -> None:
        if step.kind == "write":
            group = self.history.begin(step.changes)
            try:
                group.versions, group.last_lsn = stage(engine, list(step.changes))
            except (StoreFull, Overloaded):
                self.history.groups.pop()
                self.work(engine, 9)
        elif step.kind == "sync":
            sync(engine)
        elif step.kind == "work":
            self.work(engine, step.jobs)
        else:
            if step.kind == "flush":
                engine.request_flush()
            elif step.kind == "compact":
                engine.request_compact()
            engine.commit()
            self.history.answer()

    def work(self, engine: Engine, jobs_max: int) -> None:
        for _ in range(jobs_max):
            job = engine.next_job()
            if job is None:
                return
            try:
                result = run_job(job, DIRECTORY, self.disk, TINY, lambda: None)
            except (OSError, StoreFull) as error:
                engine.job_failed(job, error)
                continue
            engine.install(job, result)


def check_survives(player: Survivor, where: str) -> None:
    history = player.history
    restarted = CrashDisk(player.disk.image())
    engine = open_engine(restarted, seed=1)
    served = history.check(contents(engine), history.answered, len(history.groups), f"{where}, restarted")
    assert orphans(restarted) == [], where
    again = open_engine(CrashDisk(restarted.image().power_cut(NOTHING)), seed=2)
    history.check(contents(again), served, served, f"{where}, restarted, power cut")
    cut = CrashDisk(player.disk.image().power_cut(NOTHING))
    least = min(history.covered(player.synced_lsn), history.answered)
    history.check(contents(open_engine(cut, seed=3)), least, len(history.groups), f"{where}, power cut")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("times", [1, None], ids=["once", "from-then-on"])
def test_an_error_from_every_operation(error: int, times: int | None) -> None:
    count = run_engine(STEPS).moments[-1].operation.index
    assert count > 100
    for index in range(error % STRIDE, count, STRIDE):
        disk = CrashDisk()
        disk.faults.append(Fault("", error, after=index, times=times, short_bytes=20))
        player = Survivor(disk)
        player.play()
        disk.faults.clear()
        check_survives(player, f"{errno.errorcode[error]} from operation {disk.operations[index]}")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_error_from_every_operation_of_recovery(error: int) -> None:
    run = run_engine(STEPS)
    for index in range(0, len(run.moments), 17 if COMPILED else 61):
        moment = run.moments[index]
        point = 0
        while True:
            disk = CrashDisk(moment.image.copy())
            disk.faults.append(Fault("", error, after=point, short_bytes=20))
            where = f"{moment}, killed, {errno.errorcode[error]} from operation {point} of recovery"
            try:
                engine = open_engine(disk, seed=1)
            except StoreError:
                disk.faults.clear()
                engine = open_engine(CrashDisk(disk.image()), seed=2)
            promise = moment.promise
            run.history.check(contents(engine), promise.after_kill, promise.started, where)
            if point >= len(disk.operations):
                break
            point += 1
