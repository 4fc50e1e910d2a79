"""The janitor: a child process per shard that does the background work, so that the serving process does none.

It reads jobs from stdin and writes results to stdout (janitor_protocol.py); it keeps no state between jobs and touches
nothing but files of its directory. A compaction takes long, so at each of its pauses the janitor looks at stdin: a
flush or a segment to prepare, which writers wait for, runs at once inside the compaction; another compaction waits.
It ends with its parent: by the kernel's signal, at the end of stdin, or when it finds another parent at a pause.
"""

import argparse
import json
import logging
import os
import select
import signal
import sys
import time
from collections import deque
from typing import Any

from sherd.common.disk import Disk, RealDisk
from sherd.common.errors import SherdError
from sherd.common.logs import configure_logs, event
from sherd.common.process import ParentGone, die_with_parent
from sherd.shard.janitor_protocol import (
    NICE_MAX,
    MessageBuffer,
    done_message,
    encode_message,
    failed_message,
    job_of,
)
from sherd.shard.lsm.job_types import CompactJob, Job
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.options import EngineOptions

log = logging.getLogger(__name__)

_READ_BYTES = 1 << 16
WORK_SECONDS = 0.00025
"""After so much work the janitor rests, for as long as it is told to. While it works, the kernel takes its processor
for busy, and what waits behind another process on the next one is left there until a timer ticks, milliseconds later;
each rest has the kernel look for such work at once."""
LOOK_SECONDS = 0.01
"""Between looks at what has come in."""


class Niceness:
    """This process's niceness, moved only where it can be moved back.

    An ordinary user may lower the priority of a process but not raise it again. Whether that is so is found out with
    one step down and up; if it is, the priority stays as it is, since a janitor stuck at a low one would make writers
    wait just when the debt is high.
    """

    def __init__(self) -> None:
        self._base = os.getpriority(os.PRIO_PROCESS, 0)
        self._movable = True
        try:
            os.setpriority(os.PRIO_PROCESS, 0, self._base + 1)
            os.setpriority(os.PRIO_PROCESS, 0, self._base)
        except PermissionError:
            self._movable = False
            event(log, logging.INFO, "priority stays: an ordinary user can not raise it again", nice=self._base)

    def set(self, nice: int) -> None:
        """Be nicer by ``nice`` than the process was started, or yield to all at ``NICE_YIELD``."""
        if not self._movable:
            return
        yields = nice > NICE_MAX
        os.sched_setscheduler(0, os.SCHED_IDLE if yields else os.SCHED_OTHER, os.sched_param(0))
        if not yields:
            os.setpriority(os.PRIO_PROCESS, 0, self._base + nice)


class Janitor:
    """Serves jobs until its input ends. ``input_fd`` and ``output_fd`` are the two pipes."""

    def __init__(
        self, directory: str, disk: Disk, options: EngineOptions, input_fd: int, output_fd: int, parent_pid: int
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._options = options
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._parent_pid = parent_pid
        self._messages = MessageBuffer()
        self._waiting: deque[Job] = deque()
        self._niceness = Niceness()
        self._rest_seconds = 0.0
        self._rested_at = self._looked_at = 0.0

    def set_pace(self, nice: int, rest_us: int = 0) -> None:
        self._rest_seconds = rest_us * 1e-6
        self._niceness.set(nice)

    def serve(self) -> None:
        """Do what comes in, until the parent is gone (ParentGone)."""
        while True:
            if self._waiting:
                self._run(self._waiting.popleft())
            else:
                self._receive()

    def _receive(self) -> None:
        """Wait for input and take it in."""
        data = os.read(self._input_fd, _READ_BYTES)
        if not data:
            raise ParentGone("the parent closed the pipe")
        self._messages.feed(data)
        while (message := self._messages.next()) is not None:
            self._take(message)

    def _take(self, message: list[Any]) -> None:
        if message[0] == "job":
            self._waiting.append(job_of(message))
        elif message[0] == "pace":
            self.set_pace(message[1], message[2])
        else:
            raise ValueError(f"a message of kind {message[0]!r}")

    def _pause(self) -> None:
        """Between two stretches of a job: rest if there is time for it, and notice what has come in now and then."""
        now = time.monotonic()
        if self._rest_seconds and now - self._rested_at >= WORK_SECONDS:
            time.sleep(self._rest_seconds)
            now = self._rested_at = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look_around()

    def _look_around(self) -> None:
        """Notice that the parent is gone, take in what has come in, and run what should not wait for a job's end."""
        if os.getppid() != self._parent_pid:
            raise ParentGone(f"the parent process {self._parent_pid} is gone")
        while select.select([self._input_fd], [], [], 0)[0]:
            self._receive()
        urgent = [job for job in self._waiting if not isinstance(job, CompactJob)]
        for job in urgent:
            self._waiting.remove(job)
            self._run(job)

    def _run(self, job: Job) -> None:
        """Run one job and send its outcome."""
        try:
            answer = done_message(run_job(job, self._directory, self._disk, self._options, self._pause))
        except ParentGone:
            raise
        except (SherdError, OSError) as error:
            event(log, logging.WARNING, "job failed", job=type(job).__name__, id=job.id, error=str(error))
            answer = failed_message(job.id, error)
        except Exception as error:  # the edge of a job: the parent has to hear of a bug too
            log.exception("job failed by a bug")
            answer = failed_message(job.id, error)
        self._send(encode_message(answer))

    def _send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._output_fd, data) :]
        except BrokenPipeError as error:
            raise ParentGone("nobody reads the results") from error


def main() -> None:
    """``python -m sherd.shard.janitor``; started by a shard, with pipes for stdin and stdout."""
    parser = argparse.ArgumentParser(prog="sherd.shard.janitor", description="background work of one shard")
    parser.add_argument("--directory", required=True)
    parser.add_argument("--parent-pid", required=True, type=int)
    parser.add_argument("--options", required=True, help="EngineOptions as JSON")
    parser.add_argument("--nice", type=int, default=0)
    arguments = parser.parse_args()
    configure_logs(who="janitor")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: it reaches the parent too, which closes the pipe
    try:
        die_with_parent(arguments.parent_pid)
        # Results get a descriptor of their own, so that nothing printed by accident can get between them.
        output_fd = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        options = EngineOptions(**json.loads(arguments.options))
        janitor = Janitor(arguments.directory, RealDisk(), options, sys.stdin.fileno(), output_fd, arguments.parent_pid)
        janitor.set_pace(arguments.nice)
        janitor.serve()
    except ParentGone:
        return


if __name__ == "__main__":
    main()
