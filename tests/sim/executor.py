"""A thread of a simulated process: runs what it is given, one after the other, some time later.

What a piece of work does happens at one moment, somewhere in the time that it takes; until its end nobody is told. So a
process may die with the work done and not known, or known to be wanted and not done. Nothing happens while the process
is stopped, and nothing after its death.
"""

from asyncio import events
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.process import Process

WORK_SECONDS = 1e-4
"""How long a piece of work takes on average, beside what it spends itself (a disk's sync does)."""


class SimExecutor(Executor):
    """One thread. ``work_seconds`` may be changed at any time."""

    def __init__(self, process: "Process", name: str, work_seconds: float = WORK_SECONDS) -> None:
        self.work_seconds = work_seconds
        self._process = process
        self._scheduler = process.scheduler
        self._dice = process.scheduler.dice("thread", process.name, process.pid, name)
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._done: tuple[Future[Any], Any, BaseException | None] | None = None  # and not told yet
        self._busy = False
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        self._next()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """With ``wait`` what is left runs now, and the process waits for it."""
        self._closed = True
        if cancel_futures:
            while self._waiting:
                self._waiting.popleft()[0].cancel()
        if wait:
            self._tell()
        while wait and self._waiting and self._process.alive:
            self._scheduler.spend(self._dice.expovariate(1.0 / self.work_seconds))
            future, work = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                _finish(future, *_outcome(work))

    def _next(self) -> None:
        if not self._busy and self._waiting:
            self._busy = True
            seconds = self._dice.uniform(0.0, self.work_seconds)
            self._process.at(self._scheduler.now + seconds, self._run)

    def _run(self) -> None:
        if not self._waiting:  # a shutdown has run it
            self._busy = False
            return
        future, work = self._waiting.popleft()
        if not future.set_running_or_notify_cancel():
            self._busy = False
            self._next()
            return
        self._done = (future, *_outcome(work))
        seconds = self._dice.uniform(0.0, self.work_seconds)
        self._process.at(self._scheduler.now + seconds, self._end)

    def _end(self) -> None:
        self._tell()
        self._busy = False
        self._next()

    def _tell(self) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            _finish(*done)


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What work gives, or raises; as in a thread, there is no running loop."""
    loop = events._get_running_loop()
    events._set_running_loop(None)
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever holds the future
        return None, error
    finally:
        events._set_running_loop(loop)


def _finish(future: "Future[Any]", result: Any, error: BaseException | None) -> None:
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
