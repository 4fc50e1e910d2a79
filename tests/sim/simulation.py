"""A whole simulation: hosts, what lies between them, and an etcd, from one seed.

    with Simulation(seed=7) as sim:
        shard = sim.host("10.0.0.1").start("shard", run_shard)
        sim.run(5.0)
        shard.kill()
        ...

On leaving the block what still runs is killed, and any exception that nobody handled is raised.
"""

import asyncio
import gc
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sim.etcd import EtcdServer
from sim.fabric import Fabric
from sim.host import Host
from sim.pace import Pace
from sim.process import Process
from sim.scheduler import Deadlock, Overdue, Scheduler


class Simulation:
    """See the head of this file."""

    def __init__(self, seed: int, pace: Pace | None = None) -> None:
        self.scheduler = Scheduler(seed)
        self.fabric = Fabric(self.scheduler, pace)
        self.hosts: dict[str, Host] = {}
        self.etcd = EtcdServer(self.scheduler, self.fabric)
        self._pid = 1000
        self._collector = (gc.get_threshold(), gc.get_freeze_count())

    @property
    def now(self) -> float:
        return self.scheduler.now

    @property
    def digest(self) -> str:
        """The hash of what has happened; equal for runs of one seed."""
        return self.scheduler.trace.digest()

    def next_pid(self) -> int:
        self._pid += 1
        return self._pid

    def host(self, name: str) -> Host:
        """The host of that name, which is made the first time."""
        if name not in self.hosts:
            self.hosts[name] = Host(self, name)
        return self.hosts[name]

    @property
    def processes(self) -> list[Process]:
        """All there ever were."""
        return [process for host in self.hosts.values() for process in host.processes]

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.scheduler.run(seconds)

    def run_until(self, done: Callable[[], bool], seconds_max: float) -> None:
        """Let time pass until ``done()``. Deadlock or Overdue, with what everybody waits for, if it does not come."""
        try:
            self.scheduler.run_until(done, seconds_max)
        except (Deadlock, Overdue) as error:
            error.add_note(self.describe())
            raise

    def run_to_end(self, process: Process, seconds_max: float) -> None:
        """Let time pass until ``process`` has ended, and raise what ended it."""
        self.run_until(lambda: not process.alive, seconds_max)
        if process.failure is not None:
            raise process.failure

    def describe(self) -> str:
        """What each process that runs waits for."""
        lines = []
        for process in self.processes:
            if process.alive:
                lines.append(f"{process!r}{' (paused)' if process.paused else ''}:")
                lines += [f"  {task.get_name()} at {_place(task)}" for task in process.loop.waiting()]
        return "\n".join(lines) or "no process runs"

    def errors(self) -> list[str]:
        """Exceptions that nobody handled, in the order of the processes."""
        return [_tell(process, context) for process in self.processes for context in process.errors]

    def close(self) -> None:
        """Kill what runs, and let go of what was under way."""
        gc.collect()  # tasks that failed unseen speak up when they are collected
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.loop.bury()
        threshold, frozen = self._collector
        gc.set_threshold(*threshold)  # a server process changes both for itself
        if gc.get_freeze_count() > frozen:
            gc.unfreeze()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
        if error is not None:
            error.add_note(f"seed {self.scheduler.seed}, at {self.now:.6f} s")
        elif found := self.errors():
            raise AssertionError(f"seed {self.scheduler.seed}: nobody handled\n" + "\n".join(found))


def _place(task: "asyncio.Task[object]") -> str:
    frames = task.get_stack(limit=1)
    if not frames:
        return "its start"
    code = frames[-1].f_code
    return f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{frames[-1].f_lineno})"


def _tell(process: Process, context: dict[str, object]) -> str:
    error = context.get("exception")
    text = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
    return f"{process!r}: {context.get('message')}\n{text}"
