"""A failed write or fsync is final: nothing more is acknowledged, nothing is tried again, reopening recovers."""

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.crash_disk import CrashDisk, Fault
from support.engine_run import DIRECTORY, NOTHING, TINY, contents, open_engine, orphans, run_jobs, stage, sync
from support.history import History
from support.survival import SURVIVALS
from support.workload import KEYS, value_of

from sherd.common.clock import ManualClock
from sherd.common.errors import StorePoisoned
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.store import Store

pytestmark = pytest.mark.core


def write(engine: Engine, history: History, number: int, size: int = 40) -> None:
    changes = [(KEYS[number % len(KEYS)], value_of(number, size))]
    group = history.begin(changes)
    group.versions, group.last_lsn = stage(engine, changes)
    engine.commit()
    history.answer()


def work(engine: Engine, disk: CrashDisk) -> None:
    """Do background work until none is due or a job fails."""
    while (job := engine.next_job()) is not None:
        try:
            result = run_job(job, DIRECTORY, disk, TINY, lambda: None)
        except OSError as error:
            engine.job_failed(job, error)
            return
        engine.install(job, result)


def written(count: int, clock: ManualClock | None = None) -> tuple[CrashDisk, Engine, History]:
    disk, history = CrashDisk(), History()
    engine = open_engine(disk, clock=clock)
    for number in range(count):
        write(engine, history, number)
        if number % 4 == 0:
            sync(engine)
    return disk, engine, history


CALLS: dict[str, Callable[[Engine], object]] = {
    "get": lambda engine: engine.get(KEYS[0]),
    "put": lambda engine: engine.put(KEYS[0], value_of(0, 1)),
    "delete": lambda engine: engine.delete(KEYS[0]),
    "batch": lambda engine: engine.batch([(1, KEYS[0], value_of(0, 1), 0, -1)]),
    "commit": lambda engine: engine.commit(),
    "scan": lambda engine: contents(engine),
    "sync": lambda engine: engine.sync_begin(),
    "append_empty": lambda engine: engine.append_empty(),
    "snapshot": lambda engine: engine.snapshot(),
    "flush": lambda engine: engine.request_flush(),
}


def check_poisoned(disk: CrashDisk, engine: Engine) -> None:
    """It answers nothing, says why, and touches the log no more."""
    before = len(disk.operations)
    for call in CALLS.values():
        with pytest.raises(StorePoisoned, match=r"fsync|writing"):
            call(engine)
    assert engine.next_job() is None
    engine.close(True)
    later = [operation for operation in disk.operations[before:] if operation.kind in ("write", "sync")]
    assert not [operation for operation in later if operation.path.endswith((".wal", "MANIFEST"))], later


def check_recovers(disk: CrashDisk, history: History, durable: int) -> None:
    """A new process serves what was acknowledged, and what it serves survives a power cut at once."""
    restarted = CrashDisk(disk.image())
    engine = open_engine(restarted, seed=1)
    least = history.answered
    served = history.check(contents(engine), least, len(history.groups), "restarted after the failure")
    assert orphans(restarted) == []
    again = open_engine(CrashDisk(restarted.image().power_cut(NOTHING)), seed=2)
    history.check(contents(again), served, served, "and then the power went")
    write(engine, History(), 7)
    for seed, survival in enumerate(SURVIVALS * 3):
        cut = CrashDisk(disk.image().power_cut(survival, seed))
        history.check(contents(open_engine(cut, seed=3)), durable, len(history.groups), f"{survival}, seed {seed}")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failed_fsync_of_the_log_is_final(error: int) -> None:  # FAULTS 5
    disk, engine, history = written(11)
    durable = history.covered(engine.synced_lsn)
    disk.faults.append(Fault("sync", error, path_end=".wal"))
    with pytest.raises((OSError, StorePoisoned)):
        sync(engine)
    assert history.covered(engine.synced_lsn) == durable, "what a failed fsync covered does not count as synced"
    failures = [fault for fault in disk.faults if fault.hits]
    assert len(failures) == 1
    check_poisoned(disk, engine)
    check_recovers(disk, history, durable)


@pytest.mark.parametrize("short_bytes", [0, 1, 47, 48, 100])
def test_a_failed_or_short_write_of_the_log_is_final(short_bytes: int) -> None:  # FAULTS 8
    disk, engine, history = written(11)
    durable = history.covered(engine.synced_lsn)
    disk.faults.append(Fault("write", errno.EIO, path_end=".wal", short_bytes=short_bytes))
    changes = [(KEYS[0], value_of(99, 200))]
    group = history.begin(changes)
    group.versions, group.last_lsn = stage(engine, changes)
    with pytest.raises((OSError, StorePoisoned)):
        engine.commit()
    check_poisoned(disk, engine)
    check_recovers(disk, history, durable)


@pytest.mark.parametrize(
    ("kind", "path_end"),
    [
        ("sync", ".tmp"),
        ("write", ".tmp"),
        ("create", ".tmp"),
        ("rename", ".sst"),
        ("rename", "MANIFEST"),
        ("sync_dir", ""),
        ("unlink", ""),
    ],
)
@pytest.mark.parametrize("after", range(4))
def test_an_error_in_background_work_loses_nothing(kind: str, path_end: str, after: int) -> None:  # FAULTS 5, 9
    clock = ManualClock()
    disk, engine, history = written(8, clock)
    disk.faults.append(Fault(kind, errno.EIO, path_end=path_end, after=after))
    poisoned = False
    for number in range(8, 160):
        clock.advance(1)
        try:
            write(engine, history, number, size=600)
            if number % 20 == 0:
                engine.request_flush()
            work(engine, disk)
        except (OSError, StorePoisoned):
            poisoned = True
            break
    if not poisoned:
        assert history.check(contents(engine), history.answered, history.answered, "still serving") == history.answered
        disk.faults.clear()
        clock.advance(100)
        run_jobs(engine, disk)
        engine.request_compact()
        run_jobs(engine, disk)
        history.check(contents(engine), history.answered, history.answered, "after the trouble")
        engine.close(True)
    for group in history.groups[history.answered :]:
        assert not group.last_lsn or poisoned
    restarted = CrashDisk(disk.image())
    history.check(
        contents(open_engine(restarted, seed=1)), history.answered, len(history.groups), "restarted after the trouble"
    )
    assert orphans(restarted) == []


@pytest.mark.parametrize("fsync", ["always", "ops:3", "interval:100ms"])
def test_a_store_acknowledges_nothing_after_a_failed_fsync(fsync: str) -> None:  # FAULTS 5
    disk, clock = CrashDisk(), ManualClock()
    options = replace(TINY, fsync=fsync)
    store = Store.open(DIRECTORY, options=options, disk=disk, clock=clock)
    disk.faults.append(Fault("sync", errno.EIO, path_end=".wal", after=2))
    acknowledged: list[int] = []

    def put_until_it_fails() -> None:
        for number in range(100):
            clock.advance(0.06)
            store.put(f"{number:03d}", number)
            acknowledged.append(number)

    with pytest.raises(StorePoisoned, match="fsync"):
        put_until_it_fails()
    assert 2 <= len(acknowledged) < 20
    before = len(disk.operations)
    for call in (lambda: store.get("000"), lambda: store.put("x", 1), lambda: list(store.scan()), store.sync):
        with pytest.raises(StorePoisoned):
            call()
    store.close()
    assert not [operation for operation in disk.operations[before:] if operation.kind == "sync"], "tried again"
    with Store.open(DIRECTORY, options=options, disk=CrashDisk(disk.image())) as again:
        assert [again.get(f"{number:03d}") for number in acknowledged] == acknowledged
