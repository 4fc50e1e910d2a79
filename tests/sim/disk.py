"""A host's disk, and each process's view of it: a ``CrashDisk`` that takes time and that a process can die in.

A process that dies leaves what it has written, and its locks are free. A power cut takes what was not synced, as far as
``Survival`` wants. What an operation takes is spent by whoever makes it: the loop, or a thread.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from support.crash_disk import UNLIMITED_BYTES, Crash, CrashDisk, CrashFile
from support.disk_image import Image, Node
from support.survival import Survival, Write

from sim.scheduler import Scheduler

if TYPE_CHECKING:
    from sim.process import Process


@dataclass(slots=True)
class DiskPace:
    """How long operations take, on average. May be changed while the simulation runs: a slow disk is a slow sync."""

    sync_seconds: float = 200e-6
    other_seconds: float = 5e-6
    bytes_per_second: float = 500e6


class HostDisk:
    """The disk of one host: what is on it, who holds which lock, and how much room there is."""

    def __init__(self, scheduler: Scheduler, host: str) -> None:
        self.pace = DiskPace()
        self.image = Image()
        self.locks: dict[str, ProcessDisk] = {}
        self.dice = scheduler.dice("disk", host)
        self._views: list[ProcessDisk] = []
        self._capacity_bytes = UNLIMITED_BYTES

    def view(self, process: "Process") -> "ProcessDisk":
        """The disk as ``process`` has it, until it dies."""
        view = ProcessDisk(self, process)
        view.capacity_bytes = self._capacity_bytes
        self._views.append(view)
        process.on_death(lambda: self._let_go(view))
        return view

    def _let_go(self, view: "ProcessDisk") -> None:
        self._views.remove(view)
        self.locks = {path: owner for path, owner in self.locks.items() if owner is not view}

    @property
    def capacity_bytes(self) -> int:
        """What fits on it. Below ``used_bytes`` it is full."""
        return self._capacity_bytes

    @capacity_bytes.setter
    def capacity_bytes(self, size: int) -> None:
        self._capacity_bytes = size
        for view in self._views:
            view.capacity_bytes = size

    def used_bytes(self) -> int:
        """Of files that have a name or are open."""
        nodes = {id(node): node for node in self.image.names.values()}
        nodes.update((id(node), node) for view in self._views for node in view.open_nodes())
        return sum(len(node.live) for node in nodes.values())

    def power_cut(self, survival: Survival) -> None:
        """Lose what was not synced, as far as ``survival`` says. For when no process is left on the host."""
        self.image = self.image.power_cut(survival, self.dice.getrandbits(32))
        self.locks.clear()


class ProcessDisk(CrashDisk):
    """A ``Disk``. Every call raises Crash once the process is dead."""

    def __init__(self, shared: HostDisk, process: "Process") -> None:
        super().__init__(shared.image)
        self._shared = shared
        self._process = process
        self._operations_left: int | None = None
        self._when: Literal["before", "midway", "after"] = "before"

    def die_in(self, operations: int, when: Literal["before", "midway", "after"] = "before") -> None:
        """Have the process killed around its operation that comes after so many others; ``midway`` in a write."""
        self._operations_left, self._when = operations, when

    def open_nodes(self) -> list[Node]:
        return self._open

    def used_bytes(self) -> int:
        return self._shared.used_bytes()

    def lock(self, path: str) -> "ProcessLock":
        self._check_parent(path)
        if path in self._shared.locks:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        if path not in self._image.names:
            self.create(path).close()
        self._shared.locks[path] = self
        return ProcessLock(self._shared, path, self)

    def closed(self, node: Node) -> None:
        if self._process.alive:
            super().closed(node)

    def _opened(self, path: str, node: Node, writable: bool) -> CrashFile:
        self._spend("open", 0)
        return super()._opened(path, node, writable)

    def _check_alive(self) -> None:
        if not self._process.alive:
            raise Crash(f"{self._process.name} is dead")

    def _spend(self, kind: str, size: int) -> None:
        pace = self._shared.pace
        seconds = pace.sync_seconds if kind.startswith("sync") else pace.other_seconds
        self._process.scheduler.spend(self._shared.dice.expovariate(1.0 / seconds) + size / pace.bytes_per_second)

    def _do(
        self,
        kind: str,
        path: str,
        action: Callable[[], None],
        data: bytes = b"",
        partial: Callable[[int], None] | None = None,
        torn: tuple[Node, Write] | None = None,
        failed: Callable[[], None] | None = None,
    ) -> None:
        self._check_alive()
        self._spend(kind, len(data))
        dies = self._operations_left == 0
        if self._operations_left is not None:
            self._operations_left -= 1
        if dies and self._when != "after":
            if self._when == "midway" and partial is not None:
                partial(len(data) // 2)
            self._die(kind, path)
        for fault in self.faults:
            if fault.strikes(kind, path):
                if partial is not None:
                    partial(min(fault.short_bytes, len(data)))
                if failed is not None:
                    failed()
                raise OSError(fault.error, os.strerror(fault.error), path)
        action()
        if dies:
            self._die(kind, path)

    def _die(self, kind: str, path: str) -> None:
        self._process.kill()
        raise Crash(f"{self._process.name} is killed {self._when} {kind} {path}")


class ProcessLock:
    """A lock that a process holds until it releases it or dies."""

    __slots__ = ("_owner", "_path", "_shared")

    def __init__(self, shared: HostDisk, path: str, owner: ProcessDisk) -> None:
        self._shared = shared
        self._path = path
        self._owner = owner

    def release(self) -> None:
        if self._shared.locks.get(self._path) is self._owner:
            del self._shared.locks[self._path]
