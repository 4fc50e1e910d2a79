"""What stands in for a shard's janitor: a simulated child process that runs production's jobs on the host's disk.

It speaks production's protocol (``shard/janitor_protocol.py``) over a pipe to its parent, and behaves as
``shard/janitor.py`` does: one compaction at a time, a flush or a segment to prepare even while one runs, rests as it is
told. What a job does happens at one moment somewhere in the time that it takes. Killed, it leaves its temporary files;
it dies with its parent.
"""

import asyncio
from collections import deque
from typing import Any

from support.crash_disk import Crash

from sherd.common.errors import SherdError
from sherd.shard.janitor_protocol import MessageBuffer, done_message, encode_message, failed_message, job_of
from sherd.shard.lsm.job_types import CompactJob, Job
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.options import EngineOptions
from sim.host import Host
from sim.process import Process

PIPE_SECONDS = 20e-6
START_SECONDS = 0.05
"""An interpreter has to start and to import the engine."""
JOB_SECONDS = 0.005
BYTES_PER_SECOND = 20e6
TICKS_PER_SECOND = 100


class SimJanitor:
    """One janitor from start to end. ``job_seconds`` may be changed at any time: a slow disk, a busy machine.

    The parent has its end of the pipe (``write``, ``read``, ``close``) and what a parent may do (``kill``, ``wait``).
    """

    def __init__(self, host: Host, parent: Process, directory: str, options: EngineOptions) -> None:
        self.process = host.spawn(f"{parent.name}-janitor", parent)
        self.disk = host.disk.view(self.process)
        self.job_seconds = JOB_SECONDS
        self._parent = parent
        self._directory = directory
        self._options = options
        self._scheduler = parent.scheduler
        self._dice = self._scheduler.dice("janitor", self.process.name, self.process.pid)
        self._ready_at = self._scheduler.now + self._dice.uniform(0.5, 1.5) * START_SECONDS
        self._input: deque[bytes] = deque()
        self._messages = MessageBuffer()
        self._urgent: deque[Job] = deque()
        self._compactions: deque[Job] = deque()
        self._at_work: dict[int, Job] = {}
        self._rest_us = 0
        self._worked_until = 0.0
        self._output: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._code: int | None = None
        self.process.on_death(self._died)

    # -- the parent's side --------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; below 0 if it was killed."""
        return self._code

    def write(self, data: bytes) -> None:
        """Send messages. What a dead janitor is sent is lost."""
        self._input.append(data)
        self._later(PIPE_SECONDS, self._receive)

    def is_closing(self) -> bool:
        return not self.process.alive

    async def read(self) -> bytes:
        """What it has answered since; nothing once it is dead and all was read."""
        while not self._output and self.process.alive:
            self._news.clear()
            await self._news.wait()
        return self._output.popleft() if self._output else b""

    def close(self) -> None:
        """End its input, which is the order to quit."""
        self._later(PIPE_SECONDS, self._quit)

    def kill(self) -> None:
        self.process.kill()

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        while self._code is None:
            self._news.clear()
            await self._news.wait()
        return self._code

    def busy(self) -> int | None:
        """Processor time it has used, in ticks: stands still if it hangs or has no work. None if it is dead."""
        if not self.process.alive:
            return None
        if self._at_work and not self.process.paused:
            self._worked_until = self._scheduler.now
        return int(self._worked_until * TICKS_PER_SECOND)

    # -- the janitor's side -------------------------------------------------------------------------------------------

    def _later(self, seconds: float, action: Any, *args: Any) -> None:
        self.process.at(max(self._scheduler.now + seconds, self._ready_at), action, *args)

    def _receive(self) -> None:
        self._messages.feed(self._input.popleft())
        while (message := self._messages.next()) is not None:
            if message[0] == "job":
                job = job_of(message)
                (self._compactions if isinstance(job, CompactJob) else self._urgent).append(job)
            elif message[0] == "pace":
                self._rest_us = message[2]
            else:
                raise ValueError(f"a message of kind {message[0]!r}")
        self._next()

    def _next(self) -> None:
        """Begin what may begin."""
        compacting = any(isinstance(job, CompactJob) for job in self._at_work.values())
        if self._urgent and len(self._at_work) == compacting:
            self._begin(self._urgent.popleft())
        if self._compactions and not compacting:
            self._begin(self._compactions.popleft())

    def _begin(self, job: Job) -> None:
        self._at_work[job.id] = job
        self._later(self._stretch(job), self._run, job)

    def _stretch(self, job: Job) -> float:
        """Half of the time that a job takes."""
        size = sum(table.bytes for table in job.inputs) if isinstance(job, CompactJob) else 0
        slowness = 1.0 + self._rest_us / 250  # it works for so many microseconds between two rests
        return slowness * (self._dice.uniform(0.0, self.job_seconds) + size / BYTES_PER_SECOND / 2)

    def _run(self, job: Job) -> None:
        try:
            answer = done_message(run_job(job, self._directory, self.disk, self._options))
        except Crash:
            return  # killed in the midst of it
        except (SherdError, OSError) as error:
            answer = failed_message(job.id, error)
        self._scheduler.note(self.process.name, f"{answer[0]} {type(job).__name__} {job.id}")
        self._later(self._stretch(job), self._answer, job, encode_message(answer))

    def _answer(self, job: Job, data: bytes) -> None:
        del self._at_work[job.id]
        self._parent.at(self._scheduler.now + PIPE_SECONDS, self._take, data)
        self._next()

    def _take(self, data: bytes) -> None:
        self._output.append(data)
        self._tell()

    def _tell(self) -> None:
        self._parent.loop.call_soon(self._news.set)

    def _quit(self) -> None:
        self._code = 0
        self.process.kill()

    def _died(self) -> None:
        if self._code is None:
            self._code = -9
        self._tell()
