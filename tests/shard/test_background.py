"""Background work over a real janitor process that dies, hangs, fails and runs out of room: nobody else notices."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.engine_run import seeded_bytes
from support.small_disk import small_disk

from sherd.common.clock import ManualClock, SystemClock
from sherd.common.disk import RealDisk
from sherd.common.errors import Overloaded, SherdError, StoreFull
from sherd.common.net.loop import loop_factory
from sherd.common.world import system_world
from sherd.shard import background, janitor_process
from sherd.shard.background import Background
from sherd.shard.config import ShardConfig
from sherd.shard.janitor_process import cpu_ticks, spawn_janitor
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import TEMPORARY_SUFFIX
from sherd.shard.lsm.options import EngineOptions

PATIENCE_SECONDS = 30.0
OPTIONS = EngineOptions(
    memtable_bytes=256 << 10, level0_tables_compact=50, level0_tables_slow=60, level0_tables_stop=90
)
VALUE = os.urandom(1000)


class Run:
    """An engine on the real disk with its background work."""

    def __init__(self, directory: Path, clock: Any, hang_seconds: float, rest_seconds: float) -> None:
        self.directory = directory
        self.engine = Engine.open(str(directory), OPTIONS, RealDisk(), clock, random=seeded_bytes(1))
        config = ShardConfig(1, str(directory), "unix:/none", "/none", engine=OPTIONS)
        self.poisons: list[SherdError] = []
        self.failures: list[BaseException] = []
        self.reports: list[dict[str, object]] = []
        self.changed = asyncio.Event()
        self.work = Background(
            self.engine,
            config,
            system_world(),
            spawn_janitor,
            asyncio.get_running_loop(),
            self.changed.set,
            self.poisons.append,
            self.failures.append,
            hang_seconds,
            rest_seconds,
        )
        self.written = 0

    def write(self, count: int) -> None:
        """Put the first ``count`` keys, again if they are there."""
        for number in range(count):
            self.engine.put(f"k{number:06}".encode(), b"\xc5\x03\xe8" + VALUE)
        self.engine.commit()
        self.written = max(self.written, count)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the background to bring it about."""
        while not condition():
            self.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), 0.05)

    async def janitor(self, other_than: int | None = None) -> int:
        """The pid of the janitor, once there is one (and another one)."""
        await self.until(lambda: self.work.janitor_pid not in (None, other_than))
        found = self.work.janitor_pid
        assert found is not None
        return found

    async def force(self, kind: str) -> dict[str, object]:
        count = len(self.reports)
        self.work.force(kind, self.reports.append)
        await self.until(lambda: len(self.reports) > count)
        return self.reports[-1]

    def check_data(self) -> None:
        """All that was written is there."""
        for number in range(self.written):
            assert self.engine.get(f"k{number:06}".encode()) is not None

    def temporaries(self) -> list[str]:
        return [name for name in os.listdir(self.directory) if name.endswith(TEMPORARY_SUFFIX)]


@contextlib.asynccontextmanager
async def background_run(
    directory: Path, *, clock: Any = None, hang_seconds: float = 60.0, rest_seconds: float = 3600.0, start: bool = True
) -> AsyncIterator[Run]:
    run = Run(directory, clock or SystemClock(), hang_seconds, rest_seconds)
    if start:
        await run.work.start()
    try:
        yield run
    finally:
        await run.work.stop()
        run.engine.close(clean=False)
    assert run.poisons == []
    assert run.failures == []


def drive(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(asyncio.wait_for(main, PATIENCE_SECONDS))


def test_the_janitor_yields_until_its_work_is_urgent(tmp_path: Path) -> None:
    base = os.getpriority(os.PRIO_PROCESS, 0)
    movable = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20 - base

    async def main() -> None:
        async with background_run(tmp_path) as run:
            pid = await run.janitor()
            for urgency in (0.5, 1.0, 0.0, 2.5, 0.9):
                run.work.set_pace(urgency)
                yields = movable and urgency < 1
                await run.until(lambda yields=yields: (os.sched_getscheduler(pid) == os.SCHED_IDLE) == yields)
            run.write(300)
            await run.force("flush")
            run.check_data()

    drive(main())


def test_forced_work_completes_and_reports(tmp_path: Path) -> None:
    async def main() -> None:
        async with background_run(tmp_path) as run:
            await run.force("flush")  # of nothing
            run.write(100)
            report = await run.force("flush")
            assert report["shard"] == 1
            assert report["tables"] == 1
            run.write(100)
            await run.force("flush")
            assert run.engine.status()["tables"] == 2
            report = await run.force("compact")
            assert report["tables"] == 1
            assert isinstance(report["bytes"], int)
            assert report["bytes"] > 0
            run.check_data()
            assert run.temporaries() == []

    drive(main())


def test_forced_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FORCED_MAX", 3)

    async def main() -> None:
        async with background_run(tmp_path, start=False) as run:
            run.write(1)
            for _ in range(3):
                run.work.force("flush", run.reports.append)
            with pytest.raises(Overloaded):
                run.work.force("flush", run.reports.append)
            await run.work.start()
            await run.until(lambda: len(run.reports) == 3)

    drive(main())


def test_a_shard_at_rest_gives_space_back(tmp_path: Path) -> None:
    """Overwritten and deleted: half of what tables hold is dead, and too few of them for an ordinary compaction."""

    async def main() -> None:
        async with background_run(tmp_path, rest_seconds=1.0) as run:
            for _ in range(2):
                run.write(120)
                await run.force("flush")
            assert run.engine.status()["tables"] == 2
            for number in range(60):
                run.engine.delete(f"k{number:06}".encode())
            run.engine.commit()
            run.written = 0
            await run.until(
                lambda: [meta.entries for level in run.engine.installer.version.metas() for meta in level] == [60]
            )
            assert run.engine.status()["memtable_bytes"] == 0
            tidy = run.engine.counters.compactions
            await asyncio.sleep(3 * background.TICK_SECONDS)
            assert run.engine.counters.compactions == tidy  # and then it rests

    drive(main())


def test_a_shard_that_is_written_to_is_not_at_rest(tmp_path: Path) -> None:
    async def main() -> None:
        async with background_run(tmp_path, rest_seconds=4 * background.TICK_SECONDS) as run:
            for _ in range(2):
                run.write(60)
                await run.force("flush")
            for _ in range(6):
                await asyncio.sleep(background.TICK_SECONDS)
                run.write(1)
                assert run.engine.status()["tables"] == 2
            await run.until(lambda: run.engine.status()["tables"] == 1)

    drive(main())


@pytest.mark.parametrize("stopped", [False, True])
def test_a_janitor_killed_amid_its_work_is_replaced(tmp_path: Path, stopped: bool) -> None:  # FAULTS 33
    async def main() -> None:
        async with background_run(tmp_path) as run:
            await run.force("flush")
            pid = await run.janitor()
            if stopped:
                os.kill(pid, signal.SIGSTOP)  # so that it dies with the job taken and nothing done
            run.write(100)
            run.work.force("flush", run.reports.append)
            os.kill(pid, signal.SIGKILL)
            assert await run.janitor(other_than=pid) != pid
            await run.until(lambda: len(run.reports) == 2)
            assert run.engine.status()["tables"] == 1
            run.check_data()
            assert run.temporaries() == []

    drive(main())


def test_a_janitor_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:  # FAULTS 33
    async def main() -> None:
        async with background_run(tmp_path, hang_seconds=0.3) as run:
            await run.force("flush")
            pid = await run.janitor()
            await asyncio.sleep(3 * background.TICK_SECONDS)
            assert run.work.janitor_pid == pid  # without work it may rest
            os.kill(pid, signal.SIGSTOP)
            run.write(100)
            await run.force("flush")
            assert run.work.janitor_pid != pid
            assert cpu_ticks(pid) is None
            run.check_data()

    drive(main())


def test_stopping_does_not_wait_for_a_janitor_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor_process, "STOP_SECONDS", 0.2)

    async def main() -> None:
        async with background_run(tmp_path) as run:
            pid = await run.janitor()
            os.kill(pid, signal.SIGSTOP)
            run.write(100)
            run.work.force("flush", run.reports.append)
        assert cpu_ticks(pid) is None

    drive(main())


def test_a_janitor_that_can_not_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = janitor_process.janitor_command, []

    def command(*arguments: Any) -> list[str]:
        tries.append(arguments)
        return ["/nowhere/to/be/found"] if len(tries) < 3 else real(*arguments)

    monkeypatch.setattr(janitor_process, "janitor_command", command)

    async def main() -> None:
        async with background_run(tmp_path) as run:
            run.write(100)
            await run.force("flush")
            assert len(tries) == 3

    drive(main())


def test_a_janitor_that_talks_nonsense_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = janitor_process.janitor_command, []

    def command(*arguments: Any) -> list[str]:
        tries.append(arguments)
        return ["/bin/sh", "-c", "echo nonsense; exec sleep 60"] if len(tries) == 1 else real(*arguments)

    monkeypatch.setattr(janitor_process, "janitor_command", command)

    async def main() -> None:
        async with background_run(tmp_path) as run:
            run.write(100)
            await run.force("flush")
            assert len(tries) == 2

    drive(main())


def test_work_that_stops_by_a_bug_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> list[str]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(janitor_process, "janitor_command", broken)

    async def main() -> None:
        async with background_run(tmp_path) as run:
            await run.until(lambda: bool(run.failures))
            assert isinstance(run.failures.pop(), RuntimeError)

    drive(main())


def test_a_corrupt_table_stops_its_compaction_and_is_tried_with_growing_pauses(tmp_path: Path) -> None:  # FAULTS 13
    async def main() -> None:
        clock = ManualClock()
        async with background_run(tmp_path, clock=clock) as run:
            for _ in range(2):
                run.write(60)
                await run.force("flush")
            tables = sorted(tmp_path.glob("*.sst"))
            assert len(tables) == 2
            data = bytearray(tables[0].read_bytes())
            data[len(data) // 3] ^= 0xFF
            tables[0].write_bytes(data)
            run.work.force("compact", run.reports.append)
            counters = run.engine.counters
            for failed, pause in enumerate((0.5, 1.0, 2.0), start=1):
                await run.until(lambda failed=failed: counters.jobs_failed == failed)
                clock.advance(pause - 0.1)
                await asyncio.sleep(1.2 * background.TICK_SECONDS)
                assert counters.jobs_failed == failed
                clock.advance(0.1)
            assert "Corruption" in counters.last_job_error
            assert tables[0].name in counters.last_job_error
            assert run.engine.status()["corrupt"] == counters.corrupt_reads >= 3
            assert sorted(tmp_path.glob("*.sst")) == tables
            assert len(run.reports) == 2  # the compaction is not reported as done
            run.write(60)
            await run.force("flush")  # other work goes on

    drive(main())


def test_a_disk_full_in_a_flush_waits_for_room(tmp_path: Path) -> None:  # FAULTS 7
    async def main(point: Path) -> None:
        data = point / "shard"
        ballast = point / "ballast"
        async with background_run(data) as run:
            run.write(20)
            await run.force("flush")
            run.write(150)
            free = os.statvfs(point)
            ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - (20 << 10))))
            run.work.force("flush", run.reports.append)
            counters = run.engine.counters
            await run.until(lambda: counters.jobs_failed >= 1)
            assert StoreFull.__name__ in counters.last_job_error
            assert run.engine.status()["tables"] == 1
            run.check_data()  # from the memtable and the log, which are kept
            ballast.unlink()
            await run.until(lambda: len(run.reports) == 2)
            assert run.engine.status()["tables"] == 2
            run.check_data()
            assert run.temporaries() == []

    with small_disk(tmp_path / "small", "3m") as point:
        drive(main(point))
