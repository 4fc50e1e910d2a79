"""A janitor process as seen by a parent without an event loop, such as a ``Store`` that was asked to use one.

Jobs are given with ``submit``; their outcomes come from ``collect`` in the order in which they are ready. If the
janitor dies, what it had been given has failed: ``collect`` raises JanitorDied once, and the next ``submit`` starts
another. The process is tied to the *thread* that starts it (prctl, PR_SET_PDEATHSIG), so start it from one that stays.
"""

import os
import select
import subprocess
import time

from sherd.common.errors import SherdError
from sherd.shard.janitor_protocol import (
    MessageBuffer,
    answer_of,
    encode_message,
    janitor_command,
    job_message,
    pace_message,
)
from sherd.shard.lsm.job_types import Job, JobResult
from sherd.shard.lsm.options import EngineOptions

_READ_BYTES = 1 << 16
_STOP_SECONDS = 5.0


class JanitorDied(SherdError):
    """The janitor process ended by itself; the jobs it had are not done."""


class JanitorClient:
    """One janitor for one directory. For one thread."""

    def __init__(self, directory: str, options: EngineOptions) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._messages = MessageBuffer()

    @property
    def pid(self) -> int | None:
        """The janitor's process id; None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self._process is None:
            self._messages = MessageBuffer()
            self._process = subprocess.Popen(
                janitor_command(self._directory, self._options, os.getpid()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )

    def submit(self, job: Job) -> None:
        """Hand over a job. JanitorDied if the process has ended."""
        self.start()
        self._send(encode_message(job_message(job)))

    def set_pace(self, nice: int, rest_us: int = 0) -> None:
        """Change the janitor's niceness, 0 (as this process) to 19, or ``NICE_YIELD``, if the system lets it, and the
        microseconds that it rests after each stretch of work.
        """
        if self._process is not None:
            self._send(encode_message(pace_message(nice, rest_us)))

    def _send(self, data: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            raise JanitorDied("there is no janitor")
        try:
            self._process.stdin.write(data)
        except BrokenPipeError as error:
            pid = self._process.pid
            self.stop()
            raise JanitorDied(f"the janitor, process {pid}, has ended") from error

    def collect(self, timeout_seconds: float = 0.0) -> tuple[int, JobResult | Exception] | None:
        """The (job id, outcome) of a job that has ended, waiting up to the timeout; None if none has."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            message = self._messages.next()
            if message is not None:
                return answer_of(message)
            if self._process is None or self._process.stdout is None:
                return None
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            data = os.read(self._process.stdout.fileno(), _READ_BYTES)
            if not data:
                pid = self._process.pid
                self.stop()
                raise JanitorDied(f"the janitor, process {pid}, has ended")
            self._messages.feed(data)

    def stop(self) -> None:
        """Have the janitor give up its work and end; kill it if it takes long."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
