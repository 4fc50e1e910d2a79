"""Who does a Store's background work: the calling thread, between two writes, or a janitor process.

Inline, the write that fills a memtable pays for its flush, and for what compaction that makes due, one bounded job
after the other. With a janitor, writes only hand out jobs and take results in; they wait for it when it is as far
behind as it may be, which is the back-pressure of an embedded store.
"""

import time
from typing import Protocol

from sherd.common.disk import Disk
from sherd.common.errors import SherdError
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.job_types import Job, JobResult
from sherd.shard.lsm.jobs import run_job

WAIT_SECONDS = 0.05


class Janitor(Protocol):
    """A process that runs jobs; ``sherd.shard.janitor_client.JanitorClient`` is one."""

    def submit(self, job: Job) -> None: ...

    def collect(self, timeout_seconds: float = 0.0) -> tuple[int, JobResult | Exception] | None: ...

    def stop(self) -> None: ...


class InlineWork:
    """Runs every due job in the calling thread."""

    def __init__(self, engine: Engine, disk: Disk) -> None:
        self._engine = engine
        self._disk = disk
        self.last_error: Exception | None = None

    def advance(self, wait: bool = False) -> None:
        """Run jobs until none is due. A job that fails is left for later; ``last_error`` says why."""
        self.last_error = None
        while (job := self._engine.next_job()) is not None:
            try:
                result = run_job(job, self._engine.directory, self._disk, self._engine.options)
            except (SherdError, OSError) as error:
                self.last_error = error
                self._engine.job_failed(job, error)
            else:
                self._engine.install(job, result)

    def close(self) -> None:
        """Nothing is under way between calls."""


class JanitorWork:
    """Hands jobs to a janitor. When it dies, its jobs have failed, and the next ones start another."""

    def __init__(self, engine: Engine, janitor: Janitor) -> None:
        self._engine = engine
        self._janitor = janitor
        self._out: dict[int, Job] = {}
        self.last_error: Exception | None = None

    def advance(self, wait: bool = False) -> None:
        """Take in what is done and hand out what is due; with ``wait``, until something was done or a moment passed."""
        self.last_error = None
        self._hand_out()
        deadline = time.monotonic() + (WAIT_SECONDS if wait and self._out else 0.0)
        try:
            while (found := self._janitor.collect(max(0.0, deadline - time.monotonic()))) is not None:
                self._take(*found)
                deadline = 0.0
        except (SherdError, OSError) as error:
            self._fail_all(error)
        self._hand_out()

    def _hand_out(self) -> None:
        while (job := self._engine.next_job()) is not None:
            self._out[job.id] = job
            try:
                self._janitor.submit(job)
            except (SherdError, OSError) as error:
                self._fail_all(error)

    def _take(self, job_id: int, outcome: JobResult | Exception) -> None:
        job = self._out.pop(job_id)
        if isinstance(outcome, Exception):
            self.last_error = outcome
            self._engine.job_failed(job, outcome)
        else:
            self._engine.install(job, outcome)

    def _fail_all(self, error: Exception) -> None:
        self.last_error = error
        for job in self._out.values():
            self._engine.job_failed(job, error)
        self._out.clear()

    def close(self) -> None:
        """Stop the janitor; what it has not finished is done after the next start."""
        self._janitor.stop()
        self._fail_all(SherdError("the store is closing"))
