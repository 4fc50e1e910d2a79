"""A full disk: met before anything is staged, refused clearly, reads go on, and room heals it. FAULTS 6, 7."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, TINY, contents, open_engine, orphans, run_jobs, stage, sync
from support.history import History
from support.workload import KEYS, value_of

from sherd.common.clock import ManualClock, SystemClock
from sherd.common.disk import Disk, RealDisk
from sherd.common.errors import StoreFull
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.options import EngineOptions

pytestmark = pytest.mark.core

ROOM_BYTES = 200 << 10
WRITES_MAX = 5000


def write(engine: Engine, history: History, number: int, size: int = 700) -> None:
    """One put of a new key; StoreFull leaves the history as it was."""
    changes = [(f"{number:06d}".encode(), value_of(number, size))]
    group = history.begin(changes)
    try:
        group.versions, group.last_lsn = stage(engine, changes)
    except StoreFull:
        history.groups.pop()
        raise
    engine.commit()
    history.answer()


def work(engine: Engine, disk: Disk, directory: str, options: EngineOptions) -> int:
    """Do background work until none is due or one job fails for want of room; how many failed."""
    while (job := engine.next_job()) is not None:
        try:
            result = run_job(job, directory, disk, options, lambda: None)
            engine.install(job, result)
        except (StoreFull, OSError) as error:
            engine.job_failed(job, error)
            return 1
    return 0


def fill(engine: Engine, history: History, disk: Disk, directory: str, options: EngineOptions, size: int) -> int:
    """Write until the disk is full; how many jobs failed on the way."""
    failed = 0
    for number in range(WRITES_MAX):
        try:
            write(engine, history, number, size)
        except StoreFull:
            return failed
        failed += work(engine, disk, directory, options)
    raise AssertionError(f"{WRITES_MAX} writes did not fill the disk")


def temporaries(disk: Disk, directory: str) -> list[str]:
    return [name for name in disk.listdir(directory) if name.endswith(".tmp")]


def test_a_full_disk_refuses_writes_before_anything_is_staged() -> None:  # FAULTS 6
    disk, history = CrashDisk(capacity_bytes=ROOM_BYTES), History()
    engine = open_engine(disk)
    fill(engine, history, disk, DIRECTORY, TINY, 700)
    last = engine.last_lsn
    for call in (
        lambda: engine.put(b"x" * 10, value_of(0, 3000)),
        lambda: engine.batch([(1, KEYS[0], value_of(0, 2000), 0, -1), (1, KEYS[1], value_of(0, 2000), 0, -1)]),
    ):
        with pytest.raises(StoreFull):
            call()
        assert engine.last_lsn == last
        assert not engine.staged
    history.check(contents(engine), history.answered, history.answered, "full, reads go on")
    sync(engine)
    assert engine.synced_lsn >= history.last_version()


def test_room_heals_a_full_disk() -> None:  # FAULTS 6, 7
    disk, history, clock = CrashDisk(capacity_bytes=ROOM_BYTES), History(), ManualClock()
    engine = open_engine(disk, clock=clock)
    failed = fill(engine, history, disk, DIRECTORY, TINY, 700)
    assert temporaries(disk, DIRECTORY) == []
    disk.capacity_bytes *= 3
    clock.advance(100)  # failed jobs are tried again after a pause
    run_jobs(engine, disk)
    for number in range(WRITES_MAX, WRITES_MAX + 60):
        write(engine, history, number)
        run_jobs(engine, disk)
    history.check(contents(engine), history.answered, history.answered, f"healed after {failed} failed jobs")
    engine.close(True)
    restarted = CrashDisk(disk.image())
    history.check(contents(open_engine(restarted)), history.answered, history.answered, "restarted")
    assert orphans(restarted) == []


def test_a_batch_larger_than_a_memtable_is_refused_whole() -> None:  # FAULTS 6
    disk = CrashDisk(capacity_bytes=ROOM_BYTES)
    engine = open_engine(disk)
    operations = [(1, f"{number:04d}".encode(), value_of(number, 1000), 0, -1) for number in range(300)]
    with pytest.raises(StoreFull):
        engine.batch(operations)
    assert contents(engine) == {}
    engine.batch(operations[:30])
    engine.commit()
    assert len(contents(engine)) == 30


def test_a_restart_on_a_full_disk_serves_reads() -> None:  # FAULTS 6, 12
    disk, history = CrashDisk(capacity_bytes=ROOM_BYTES), History()
    fill(open_engine(disk), history, disk, DIRECTORY, TINY, 700)
    for slack in (0, 1024, 64 << 10):
        restarted = CrashDisk(disk.image())
        restarted.capacity_bytes = restarted.used_bytes() + slack
        try:
            engine = open_engine(restarted, seed=1)
        except StoreFull:
            assert slack == 0, "a refusal to start is for want of any room at all"
            continue
        history.check(contents(engine), history.answered, history.answered, f"restarted with {slack} bytes of room")


@pytest.mark.parametrize("room_bytes", range(0, 40 << 10, 3000))
def test_background_work_without_room_keeps_its_inputs(room_bytes: int) -> None:  # FAULTS 7
    disk, history = CrashDisk(), History()
    engine = open_engine(disk)
    for number in range(60):
        write(engine, history, number)
        if number % 10 == 9:
            engine.request_flush()
        if number < 40:
            run_jobs(engine, disk)
    engine.request_compact()
    disk.capacity_bytes = disk.used_bytes() + room_bytes
    before = set(disk.files(DIRECTORY))
    if work(engine, disk, DIRECTORY, TINY):
        assert {path for path in before if path.endswith(".sst")} <= set(disk.files(DIRECTORY))
        assert temporaries(disk, DIRECTORY) == []
    history.check(contents(engine), history.answered, history.answered, f"with {room_bytes} bytes of room")
    disk.capacity_bytes *= 10
    run_jobs(engine, disk)
    history.check(contents(engine), history.answered, history.answered, "with room again")
    history.check(contents(open_engine(CrashDisk(disk.image()))), history.answered, history.answered, "restarted")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 6 MiB."""
    point = tmp_path / "small"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(point)]
    if os.geteuid() == 0:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    else:
        mounted = subprocess.run(["sudo", "-n", *command], capture_output=True, text=True, check=False, timeout=30)
    if mounted.returncode != 0:
        pytest.fail(f"a tmpfs is needed for this test and could not be mounted: {mounted.stderr.strip()}")
    try:
        yield point
    finally:
        umount = ["umount", str(point)] if os.geteuid() == 0 else ["sudo", "-n", "umount", str(point)]
        subprocess.run(umount, check=True, timeout=30)


def test_a_real_disk_fills_up_and_heals(small_disk: Path) -> None:  # FAULTS 6, 7
    options = replace(TINY, memtable_bytes=512 << 10, table_bytes=256 << 10, level_base_bytes=1 << 20)
    disk, history = RealDisk(), History()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    directory = str(small_disk / "data")
    with contextlib.closing(Closing(Engine.open(directory, options, disk, SystemClock()))) as opened:
        engine = opened.engine
        fill(engine, history, disk, directory, options, 4000)
        history.check(contents(engine), history.answered, history.answered, "full, reads go on")
        assert temporaries(disk, directory) == []
        ballast.unlink()
        work(engine, disk, directory, options)
        write(engine, history, WRITES_MAX, 4000)
        history.check(contents(engine), history.answered, history.answered, "with room again")
    with contextlib.closing(Closing(Engine.open(directory, options, disk, SystemClock()))) as opened:
        history.check(contents(opened.engine), history.answered, history.answered, "restarted")


class Closing:
    """Closes its engine cleanly."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def close(self) -> None:
        self.engine.close(True)
