"""One process of the operating system, as the simulator sees it: what it has scheduled happens only while it runs.

Killed, nothing of it ever happens again, and what it held (``on_death``) is given up, in the order it was taken.
Stopped (``pause``), what is due waits until it is resumed; what the kernel does for it, as taking in bytes, goes on.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sim.clock import SimClock
from sim.loop import SimLoop
from sim.scheduler import Event, Scheduler

CALLBACK_SECONDS = 5e-6
"""Processor time of one callback. Never 0: so a loop that spins takes time, and the simulation gets on."""


class Process:
    """``pid`` is unique in the simulation. ``children`` die with their parent."""

    def __init__(self, scheduler: Scheduler, clock: SimClock, host: str, name: str, pid: int) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.host = host
        self.name = name
        self.pid = pid
        self.alive = True
        self.paused = False
        self.callback_seconds = CALLBACK_SECONDS
        self.children: list[Process] = []
        self.failure: BaseException | None = None
        """What ended its main function."""
        self.errors: list[dict[str, Any]] = []
        """What its event loop was told of: exceptions nobody handled."""
        self._deferred: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._held: dict[int, Callable[[], None]] = {}
        self._holds = 0
        self._main: asyncio.Task[object] | None = None
        self.loop = SimLoop(self)

    def __repr__(self) -> str:
        return f"<process {self.name} {self.pid} on {self.host}>"

    def at(self, when: float, action: Callable[..., object], *args: Any) -> Event:
        """Have this process do something at ``when``, if it then lives; later, if it then is stopped."""
        return self.scheduler.at(when, self._do, action, args)

    def _do(self, action: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self.paused:
            self._deferred.append((action, args))
        elif self.alive:
            action(*args)

    def on_death(self, give_up: Callable[[], None]) -> int:
        """Have ``give_up`` called when the process has died; a number for ``keeps_no_more``."""
        self._holds += 1
        self._held[self._holds] = give_up
        return self._holds

    def keeps_no_more(self, hold: int) -> None:
        """What was given to ``on_death`` is gone already."""
        self._held.pop(hold, None)

    def start(self, main: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run the coroutine that ``main()`` gives, as soon as the loop turns; the process ends with it."""
        self.loop.call_soon(self._begin, main)

    def _begin(self, main: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._main = self.loop.create_task(main(), name=f"main of {self.name}")
        self._main.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[object]") -> None:
        self.failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        self.scheduler.note(self.name, f"ends {type(self.failure).__name__}")
        self._die()

    def kill(self) -> None:
        """SIGKILL."""
        if self.alive:
            self.scheduler.note(self.name, "killed")
            self._die()

    def _die(self) -> None:
        self.alive = self.paused = False
        self._deferred.clear()
        self.loop.die()
        for child in self.children:
            child.kill()
        while self._held:
            self._held.pop(next(iter(self._held)))()

    def pause(self) -> None:
        """SIGSTOP."""
        if self.alive and not self.paused:
            self.scheduler.note(self.name, "paused")
            self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        if self.paused:
            self.scheduler.note(self.name, "resumed")
            self.paused = False
            deferred, self._deferred = self._deferred, []
            self.at(self.scheduler.now, self._catch_up, deferred)

    def _catch_up(self, deferred: list[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        """What was due while it was stopped, in its order."""
        for action, args in deferred:
            self._do(action, args)

    def signal(self, number: int) -> None:
        """Send a signal that the process has a handler for, or that ends it."""
        if not self.loop.deliver(number):
            self.kill()
