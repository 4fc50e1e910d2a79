"""Keeps one process alive: starts it, waits for it, starts it again when it dies.

The first restart is at once. If the process dies again before it has served for ``stable_seconds``, pauses follow,
doubling up to a bound. Two things end the keeping: ``stop``, and a refusal, when the process tells that it can't start
for a reason that starting again can't mend, or when it died ``STARTS_MAX`` times before it ever served. Whether it can
is also up to ``buried``: a replica whose store is damaged may begin anew once others do without it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sherd.cluster.child import Child, NotReady, describe_exit
from sherd.cluster.probe import Probe, until_silent
from sherd.common.clock import Clock
from sherd.common.exit_codes import LASTING, ExitCode
from sherd.common.logs import event

STARTS_MAX = 3

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Times, in seconds, of keeping a process alive; ``ClusterConfig`` explains them."""

    ready_seconds_max: float
    answer_seconds_max: float
    restart_seconds_min: float
    restart_seconds_max: float
    stable_seconds: float
    stop_seconds_max: float

    def pause(self, deaths: int) -> float:
        """Seconds to wait before the start that follows the ``deaths``-th early death in a row."""
        if deaths <= 1:
            return 0.0
        return min(self.restart_seconds_max, self.restart_seconds_min * 2.0 ** min(deaths - 2, 60))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a process is kept no longer."""

    name: str
    reason: str
    code: int


class Keeper:
    """Keeps the process ``name``. ``prepare`` is awaited before each start and gives the command.

    ``served`` is set once it has served for the first time, at ``address``. The clock is for measuring how long.
    ``probe`` asks whether it still answers; None for one that need not. ``buried`` is awaited with the exit code after
    each death, once the process was reaped and before any pause; True if starting again mends even a lasting reason.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[], Awaitable[Sequence[str]]],
        environ: Mapping[str, str],
        policy: RestartPolicy,
        clock: Clock,
        probe: Probe | None = None,
        buried: Callable[[int], Awaitable[bool]] | None = None,
    ) -> None:
        self.name = name
        self.served = asyncio.Event()
        self.address = ""
        self._prepare = prepare
        self._environ = environ
        self._policy = policy
        self._clock = clock
        self._probe = probe
        self._buried = buried
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._killing = False

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._child.pid if self._child else None

    async def run(self) -> Refusal | None:
        """Keep the process until ``stop`` (None) or for as long as that makes sense (why it does not)."""
        deaths = 0
        while not self._stopping.is_set():
            served_seconds, code, reason = await self._one_life()
            if self._stopping.is_set():
                break
            mended = self._buried is not None and await self._unless_stopped(self._buried(code))
            deaths = 1 if served_seconds >= self._policy.stable_seconds else deaths + 1
            if code in LASTING and not mended:
                return Refusal(self.name, reason, code)
            if not self.served.is_set() and deaths >= STARTS_MAX:
                return Refusal(self.name, f"it died {deaths} times before it served: {reason}", ExitCode.SERVER_ERROR)
            pause = self._policy.pause(deaths)
            event(log, logging.WARNING, "process died", name=self.name, reason=reason, restart_seconds=f"{pause:g}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
        return None

    async def _unless_stopped(self, work: Awaitable[T]) -> T | None:
        """What ``work`` gives, or None if the keeping is to end before it is done. Raises what it raises."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            stopping.cancel()

    def stop(self) -> None:
        """Ask the process to stop, and kill it after ``stop_seconds_max``; ``run`` returns when it is gone."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._child is not None:
            self._child.terminate()
        asyncio.get_running_loop().call_later(self._policy.stop_seconds_max, self._overdue)

    def kill(self) -> None:
        """Stop the process without asking."""
        self._stopping.set()
        self._killing = True
        if self._child is not None:
            self._child.kill()

    async def _one_life(self) -> tuple[float, int, str]:
        """Start the process and wait for its end: seconds it served, exit code, and why it ended."""
        try:
            command = await self._unless_stopped(self._prepare())
            if command is None:
                return 0.0, ExitCode.OK, "it was told to stop"
            child = self._child = await Child.start(command, self._environ)
        except OSError as error:
            return 0.0, ExitCode.SERVER_ERROR, f"it could not be started: {error}"
        try:
            if self._stopping.is_set():
                (child.kill if self._killing else child.terminate)()
            try:
                ready = await child.until_ready(self._policy.ready_seconds_max)
            except NotReady as error:
                child.kill()
                code = await child.wait()
                return 0.0, code, f"{error}; {describe_exit(code)}"
            if ready.error:
                return 0.0, await child.wait(), ready.error
            served_at = self._clock.monotonic()
            self._serves(child, ready.address)
            code = await self._until_end(child)
            return self._clock.monotonic() - served_at, code, describe_exit(code)
        except asyncio.CancelledError:
            # Nobody else knows of this process.
            child.kill()
            raise
        finally:
            self._child = None

    async def _until_end(self, child: Child) -> int:
        """Wait for the end of a child that serves, and bring it about if it does not answer any more."""
        if self._probe is None:
            return await child.wait()
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._kill_if_silent(child, self._probe))
            code = await child.wait()
            watch.cancel()
        return code

    async def _kill_if_silent(self, child: Child, probe: Probe) -> None:
        await until_silent(probe, self.address, self._policy.answer_seconds_max)
        # While it stops it need not answer; there is a bound on that too.
        if not self._stopping.is_set():
            event(log, logging.ERROR, "process does not answer, killing it", name=self.name, pid=child.pid)
            child.kill()

    def _serves(self, child: Child, address: str) -> None:
        self.address = address
        self.served.set()
        event(log, logging.INFO, "process serves", name=self.name, pid=child.pid, address=address)

    def _overdue(self) -> None:
        if self._child is not None:
            event(log, logging.WARNING, "process does not stop, killing it", name=self.name, pid=self._child.pid)
            self._child.kill()
