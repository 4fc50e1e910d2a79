"""The event loop of one simulated process, over the scheduler that all of them share.

A turn runs as asyncio's does: what is ready and the timers that are due, in the order they came; what becomes ready
meanwhile waits for the next turn. Each callback costs its process ``callback_seconds``. Between two callbacks others
may run whose time has come, so a process can be killed or stopped in the midst of a turn.

Futures and tasks hash by the order in which they were made, so that what walks a set of them does it in the same order
every time (``asyncio.TaskGroup`` does). After its process has died a loop takes everything and does nothing.
"""

import asyncio
import contextvars
import heapq
import itertools
import sys
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, NoReturn

from sherd.common.net.address import Address
from sherd.common.net.network import Network

if TYPE_CHECKING:
    from sim.process import Process

CLOCK_RESOLUTION_SECONDS = 1e-9
TIMER_LATE_SECONDS_MAX = 1e-4
CLOSE_ATTEMPTS = 100
"""How often a coroutine may await again while it is being closed."""


class SimFuture(asyncio.Future[Any]):
    """A future with a place in the order of all."""

    def __init__(self, *, loop: "SimLoop") -> None:
        self._serial = next(loop.serials)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class SimTask(asyncio.Task[Any]):
    """A task with a place in the order of all."""

    def __init__(self, coro: Coroutine[Any, Any, Any], loop: "SimLoop", name: str | None, context: Any) -> None:
        self.serial = next(loop.serials)
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self.serial


class SimLoop(asyncio.AbstractEventLoop):
    """See the head of this file. ``network`` is what ``create_connection`` uses."""

    def __init__(self, process: "Process") -> None:
        self.serials = itertools.count(1)
        self.network: Network | None = None
        self.default_executor: Executor | None = None
        self._process = process
        self._scheduler = process.scheduler
        self._late = self._scheduler.dice("timers", process.name, process.pid)
        self._ready: deque[asyncio.Handle] = deque()
        self._batch: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._turn_at = float("inf")
        self._turn_number = 0
        self._running = False
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._signals: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self._dead: list[asyncio.Task[Any]] = []

    # -- turns --------------------------------------------------------------------------------------------------------

    def _wake(self, when: float) -> None:
        """Have a turn at ``when``, unless there is one before that."""
        if when < self._turn_at and not self._running:
            self._turn_at = when
            self._turn_number += 1
            self._process.at(when, self._turn, self._turn_number)

    def _turn(self, number: int) -> None:
        if number != self._turn_number:
            return  # another was scheduled before this one
        self._turn_at = float("inf")
        if not self._batch:
            self._take_due()
        self._running = True
        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, self._finalize)
        events._set_running_loop(self)
        try:
            self._run_batch()
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*before)
            self._running = False
        self._plan()

    def _take_due(self) -> None:
        timers, end = self._timers, self.time() + CLOCK_RESOLUTION_SECONDS
        while timers and (timers[0][0] <= end or timers[0][2].cancelled()):
            self._ready.append(heapq.heappop(timers)[2])
        self._batch, self._ready = self._ready, self._batch

    def _run_batch(self) -> None:
        process, batch, scheduler = self._process, self._batch, self._scheduler
        scheduler.note(process.name, f"turn {len(batch)}")
        while batch:
            handle = batch.popleft()
            if handle._cancelled:
                continue
            handle._run()
            scheduler.spend(process.callback_seconds)
            if process.paused or not process.alive or not scheduler.settle():
                return

    def _plan(self) -> None:
        if not self._process.alive:
            return
        if self._batch or self._ready:
            self._wake(self._scheduler.now)
            return
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if self._timers:
            self._wake(self._true_time(self._timers[0][0]))

    def _true_time(self, when: float) -> float:
        return self._process.clock.true_time(when) + self._late.random() * TIMER_LATE_SECONDS_MAX

    # -- callbacks and timers -----------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._process.clock.monotonic()

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._process.alive:
            self._ready.append(handle)
            self._wake(self._scheduler.now)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if self._process.alive:
            heapq.heappush(self._timers, (when, next(self.serials), timer))
            if self._timers[0][2] is timer:
                self._wake(self._true_time(when))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by ``TimerHandle.cancel``: it leaves the heap when it comes to its top."""

    def create_future(self) -> SimFuture:
        return SimFuture(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> SimTask:
        return SimTask(coro, self, name, context)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        chosen = self.default_executor if executor is None else executor
        if chosen is None:
            raise RuntimeError("this process has no default executor")
        submitted: Future[Any] = chosen.submit(func, *args)
        return asyncio.wrap_future(submitted, loop=self)

    # -- connections, for who does not take a Network -----------------------------------------------------------------

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return await self._connect(factory, Address(host, port))

    async def create_unix_connection(self, factory: Any, path: Any = None, **_: Any) -> Any:
        return await self._connect(factory, Address(path=path))

    async def _connect(self, factory: Any, address: Address) -> Any:
        if self.network is None:
            raise RuntimeError("this process has no network")
        found: list[asyncio.BaseTransport] = []

        def watched() -> asyncio.BaseProtocol:
            protocol: asyncio.BaseProtocol = factory()
            made = protocol.connection_made

            def connection_made(transport: asyncio.BaseTransport) -> None:
                found.append(transport)
                made(transport)

            protocol.connection_made = connection_made  # type: ignore[method-assign]
            return protocol

        protocol = await self.network.connect(watched, address)
        return found[0], protocol

    # -- the rest of an event loop ------------------------------------------------------------------------------------

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return not self._process.alive

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        if enabled:
            raise NotImplementedError("asyncio's debug mode reads the real clock")

    def run_forever(self) -> NoReturn:
        raise RuntimeError("the scheduler runs this loop")

    def set_exception_handler(self, handler: Any) -> None:
        self._handler = handler

    def get_exception_handler(self) -> Any:
        return self._handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._process.alive:
            return  # tasks and futures that a dead process leaves
        if self._handler is None:
            self.default_exception_handler(context)
        else:
            self._handler(self, context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self._process.errors.append(context)

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        self._signals[int(sig)] = (callback, args)

    def remove_signal_handler(self, sig: int) -> bool:
        return self._signals.pop(int(sig), None) is not None

    def deliver(self, number: int) -> bool:
        """A signal has come; False if there is no handler for it."""
        found = self._signals.get(int(number))
        if found is not None:
            self.call_soon(found[0], *found[1])
        return found is not None

    # -- the end ------------------------------------------------------------------------------------------------------

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._process.alive:
            self.call_soon(self.create_task, generator.aclose())

    def waiting(self) -> list[asyncio.Task[Any]]:
        """Tasks that are not done, oldest first."""
        tasks: list[SimTask] = [task for task in asyncio.all_tasks(self) if isinstance(task, SimTask)]
        return [*sorted(tasks, key=lambda task: task.serial)]

    def die(self) -> None:
        """The process is dead. Its tasks are kept as they are: let go of, they would run what they have to clean up."""
        self._dead = self.waiting()
        self._ready.clear()
        self._batch.clear()
        self._timers.clear()

    def bury(self) -> None:
        """Close what the process was in the midst of. For the end of a simulation: it can touch nothing any more."""
        dead, self._dead = self._dead, []
        events._set_running_loop(self)
        try:
            for task in dead:
                _close(task.get_coro())
        finally:
            events._set_running_loop(None)


def _close(coroutine: Any) -> None:
    for _ in range(CLOSE_ATTEMPTS):
        try:
            coroutine.close()
        except RuntimeError:
            continue  # it awaits again in a ``finally``; that is closed next
        except BaseException:  # noqa: BLE001 - what a dead process's cleaning up raises is nobody's concern
            return
        return
