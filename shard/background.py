"""Background work of a shard, seen from its event loop: jobs out to the janitor, results into the engine.

The engine decides what is to be done (``next_job``) and puts results in place (``installing``); the janitor, a child
process, does the work. What putting in place has to wait for (fsync, rename, unlink) runs in a thread, one result at a
time, while the loop goes on serving. If the janitor dies or hangs, its jobs have failed, another is started after a
pause that grows, and the engine asks for the same again; nothing else notices. A janitor hangs when it has work and its
processor time has stood still for long: so a compaction may take hours, and a stopped process is found. Forced flushes
and compactions are engine tokens, looked at whenever a job ends. The janitor's priority is low while it keeps up and
normal once writers are made to wait. When nothing was written for ``REST_SECONDS``, it also does what tidies up.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sherd.common.errors import Overloaded, SherdError, StoreError
from sherd.common.logs import event
from sherd.common.world import World
from sherd.shard.config import ShardConfig
from sherd.shard.janitor_process import JanitorProcess, SpawnJanitor
from sherd.shard.janitor_protocol import (
    NICE_YIELD,
    MessageBuffer,
    answer_of,
    encode_message,
    job_message,
    pace_message,
)
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.job_types import Job
from sherd.shard.lsm.steps import Steps

log = logging.getLogger(__name__)

RESTART_PAUSE_SECONDS_MIN = 0.1
RESTART_PAUSE_SECONDS_MAX = 5.0
HANG_SECONDS = 120.0
"""How long a janitor with work may use no processor time before it is killed; more than the slowest fsync takes."""
FORCED_MAX = 1000
"""Forced flushes and compactions that may wait at a time."""
TICK_SECONDS = 0.5
UNHELD_FILES_MAX = 100
"""Files that may wait to be unlinked before results wait for that."""
FREED_ENTRIES = 2000
FREE_PAUSE_SECONDS = 0.002
REST_US_MIN, REST_US_MAX = 60, 1500
"""Rests of the janitor, when its work is nearly urgent and when there is all the time."""
REST_SECONDS = 5.0
"""How long nothing must have been written before the store is tidied up: longer than the pauses of a busy client."""

Done = Callable[[dict[str, object]], None]


class Background:
    """Keeps one janitor running and one engine supplied.

    ``changed`` is called after each job, and now and then. ``on_poison`` is told when the engine is down, and
    ``on_failure`` when this work itself has stopped by a bug: a shard must not serve on without it.
    """

    def __init__(
        self,
        engine: Engine,
        config: ShardConfig,
        world: World,
        spawn: SpawnJanitor,
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[], None],
        on_poison: Callable[[StoreError], None],
        on_failure: Callable[[BaseException], None],
        hang_seconds: float = HANG_SECONDS,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        self._engine = engine
        self._config = config
        self._world = world
        self._spawn = spawn
        self._loop = loop
        self._changed = changed
        self._on_poison = on_poison
        self._on_failure = on_failure
        self._hang_seconds = hang_seconds
        self._rest_seconds = rest_seconds
        self._written = (engine.last_lsn, loop.time())  # the last write seen, and when
        self._jobs: dict[int, Job] = {}
        self._moved: tuple[int | None, float] = (None, 0.0)  # processor time of the janitor, and when it last changed
        self._process: JanitorProcess | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._installer: asyncio.Task[None] | None = None
        self._results: asyncio.Queue[tuple[Job, Any] | None] = asyncio.Queue()
        self._thread = world.thread("install")
        self._waiters: list[tuple[str, int, float, Done]] = []
        self._pace = -1  # in tenths of what is urgent; the janitor has not been told of any
        self._stopped = False

    @property
    def janitor_pid(self) -> int | None:
        """The janitor's process id; None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the janitor and what watches it."""
        self._tasks = [self._loop.create_task(self._keep_janitor()), self._loop.create_task(self._tick())]
        self._installer = self._loop.create_task(self._install_results())
        for task in (*self._tasks, self._installer):
            task.add_done_callback(self._watch)

    def _watch(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.critical("background work has stopped", exc_info=error)
            self._on_failure(error)

    async def stop(self) -> None:
        """End the janitor; results at hand are installed, jobs under way given up: they leave temporaries at most."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        self._results.put_nowait(None)
        if self._installer is not None:
            await asyncio.gather(*self._tasks, self._installer, return_exceptions=True)  # _watch has told of errors
        self._thread.shutdown(wait=True)
        if self._process is not None:
            await self._process.end()

    def poke(self, at_rest: bool = False) -> None:
        """Hand out what the engine wants done now; ``at_rest`` also what only tidies up."""
        pipe = self._pipe()
        if pipe is None or self._stopped:
            return
        try:
            while (job := self._engine.next_job(at_rest)) is not None:
                if not self._jobs:
                    self._moved = (None, self._loop.time())
                self._jobs[job.id] = job
                pipe.write(encode_message(job_message(job)))
        except StoreError as error:
            self._on_poison(error)

    def set_pace(self, urgency: float) -> None:
        """How soon the work has to be done: from 1 on writers wait for it. Told to the janitor when it has changed."""
        tenths = min(int(10 * urgency), 10)
        if self._waiters:
            tenths = max(tenths, 9)
        pipe = self._pipe()
        if tenths == self._pace or pipe is None:
            return
        self._pace = tenths
        rest_us = REST_US_MIN + (REST_US_MAX - REST_US_MIN) * (9 - tenths) // 9
        pipe.write(encode_message(pace_message(0, 0) if tenths == 10 else pace_message(NICE_YIELD, rest_us)))

    def _pipe(self) -> JanitorProcess | None:
        """The janitor, if it still listens."""
        return self._process if self._process is not None and self._process.listens else None

    def force(self, kind: str, done: Done) -> None:
        """Flush or compact everything written so far; ``done`` gets a report when that is finished."""
        if len(self._waiters) >= FORCED_MAX:
            raise Overloaded(f"{FORCED_MAX} flushes and compactions wait already")
        request = self._engine.request_flush if kind == "flush" else self._engine.request_compact
        self._waiters.append((kind, request(), self._loop.time(), done))
        self.poke()
        self._changed()
        self._look_at_waiters()

    def _look_at_waiters(self) -> None:
        waiting = []
        for kind, token, started, done in self._waiters:
            finished = self._engine.flush_done if kind == "flush" else self._engine.compact_done
            if finished(token):
                status = self._engine.status()
                done(
                    {
                        "shard": self._config.id,
                        "seconds": round(self._loop.time() - started, 3),
                        "tables": status["tables"],
                        "bytes": status["bytes"],
                    }
                )
            else:
                waiting.append((kind, token, started, done))
        self._waiters = waiting

    async def _keep_janitor(self) -> None:
        pause = RESTART_PAUSE_SECONDS_MIN
        while True:
            started = self._loop.time()
            await self._run_janitor()
            if self._loop.time() - started > 10 * RESTART_PAUSE_SECONDS_MAX:
                pause = RESTART_PAUSE_SECONDS_MIN
            await asyncio.sleep(pause)
            pause = min(2 * pause, RESTART_PAUSE_SECONDS_MAX)

    async def _run_janitor(self) -> None:
        """One janitor from start to end; what it had not done has failed then."""
        try:
            process = await self._spawn(self._config.data, self._config.engine, self._world.pid)
        except OSError as error:
            event(log, logging.ERROR, "janitor can't be started", error=error)
            return
        self._process = process
        self._pace = -1
        self.poke()
        try:
            await self._read(process)
        except ValueError as error:
            event(log, logging.ERROR, "janitor says what makes no sense and is killed", pid=process.pid, error=error)
            process.kill()
        finally:
            self._process = None
            code = await process.end()
        event(log, logging.WARNING, "janitor ended, starting another", pid=process.pid, code=code)
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            self._engine.job_failed(job, SherdError(f"the janitor, process {process.pid}, ended"))

    async def _read(self, process: JanitorProcess) -> None:
        """Take results until the janitor's output ends. ValueError if they are none."""
        messages = MessageBuffer()
        while data := await process.read():
            messages.feed(data)
            while (message := messages.next()) is not None:
                self._finish(*answer_of(message))

    def _finish(self, job_id: int, outcome: Any) -> None:
        job = self._jobs.pop(job_id, None)
        if job is not None:
            self._results.put_nowait((job, outcome))

    async def _install_results(self) -> None:
        """Put results in place, one after the other, until there is a None; between them, remove what they left."""
        while True:
            while self._engine.unheld_files and (self._results.empty() or self._engine.unheld_files > UNHELD_FILES_MAX):
                await self._loop.run_in_executor(self._thread, self._engine.unlink_one())
            if (found := await self._results.get()) is None:
                return
            job, outcome = found
            try:
                if isinstance(outcome, Exception):
                    event(log, logging.ERROR, "job failed", job=type(job).__name__, id=job.id, error=outcome)
                    self._engine.job_failed(job, outcome)
                else:
                    await self._carry_out(self._engine.installing(job, outcome))
                    event(log, logging.DEBUG, "job done", job=type(job).__name__, id=job.id)
            except StoreError as error:
                self._on_poison(error)
                return
            self.poke(self._is_at_rest())
            self._look_at_waiters()
            self._changed()
            self._free_some()

    def _free_some(self) -> None:
        """Free flushed memtables a little at a time: all at once, requests would wait for it."""
        if not self._stopped and self._engine.free_some(FREED_ENTRIES):
            self._loop.call_later(FREE_PAUSE_SECONDS, self._free_some)

    async def _carry_out(self, steps: Steps[None]) -> None:
        """Run the disk work of ``steps`` in the thread, and what is between here."""
        failure: OSError | None = None
        while True:
            try:
                work = next(steps) if failure is None else steps.throw(failure)
            except StopIteration:
                return
            failure = None
            try:
                await self._loop.run_in_executor(self._thread, work)
            except OSError as error:
                failure = error

    async def _tick(self) -> None:
        """Try again what failed, tidy up at rest, look after forced work, and end a janitor that hangs."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.poke(self._is_at_rest())
            self._look_at_waiters()
            self._changed()
            self._check_hang()

    def _is_at_rest(self) -> bool:
        """Whether nothing was written for ``rest_seconds``; noticed a tick late at most."""
        last_lsn, now = self._engine.last_lsn, self._loop.time()
        if last_lsn != self._written[0]:
            self._written = (last_lsn, now)
        return now - self._written[1] >= self._rest_seconds

    def _check_hang(self) -> None:
        process = self._process
        if process is None or not self._jobs:
            return
        used, since = process.cpu_ticks(), self._moved[1]
        if used != self._moved[0]:
            self._moved = (used, self._loop.time())
        elif self._loop.time() - since > self._hang_seconds:
            event(log, logging.ERROR, "janitor hangs and is killed", pid=process.pid, jobs=len(self._jobs))
            process.kill()
