"""Virtual time: one queue of events, run one after the other, in an order that the seed decides where time does not.

Time moves in two ways: to the next event's time, and by what the running event spends (``spend``: processor time, a
sync that blocks). What was spent is ahead of the other processes only: they still get every event that is due before,
at its own time. So an event never sees an effect of what happens later than itself, as long as nothing travels from
one process to another in no time.
"""

import gc
import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from sim.trace import Trace

COLLECT_EVENTS = 200_000
"""Events between two garbage collections: at fixed points of the run and never elsewhere, since finalizers act."""


class Deadlock(Exception):
    """Something is waited for, and nothing is scheduled that could bring it."""


class Overdue(Exception):
    """What was waited for has not come in time."""


class Event:
    """Something that is going to happen, unless it is cancelled."""

    __slots__ = ("action", "args")

    def __init__(self, action: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.action: Callable[..., object] | None = action
        self.args = args

    def cancel(self) -> None:
        self.action = None
        self.args = ()


class Scheduler:
    """The queue and the time. Seconds, from 0."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.trace = Trace()
        self.events = 0
        self._queue: list[tuple[float, float, int, Event]] = []
        self._serial = 0
        self._order = self.dice("order").random
        self._now = 0.0
        self._ahead = 0.0
        self._until = 0.0

    @property
    def now(self) -> float:
        """The time, as whoever runs now has it."""
        return self._now + self._ahead

    def dice(self, *names: object) -> random.Random:
        """A random source of its own for ``names``: what others draw does not change what it gives."""
        return random.Random("/".join(map(str, (self.seed, *names))))

    def at(self, when: float, action: Callable[..., object], *args: Any) -> Event:
        """Have ``action(*args)`` happen at ``when``; now, if that is past. Among others of that time by chance."""
        event = Event(action, args)
        self._serial += 1
        heappush(self._queue, (max(when, self.now), self._order(), self._serial, event))
        return event

    def after(self, seconds: float, action: Callable[..., object], *args: Any) -> Event:
        return self.at(self.now + seconds, action, *args)

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.note(self._now + self._ahead, who, what)

    def spend(self, seconds: float) -> None:
        """The running event takes ``seconds`` of its process's time."""
        self._ahead += seconds

    def settle(self) -> bool:
        """Whether the running event may simply go on: nothing else is due before the time it has come to."""
        reached = self._now + self._ahead
        if reached > self._until or (self._queue and self._queue[0][0] <= reached):
            return False
        self._now = reached
        self._ahead = 0.0
        return True

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self._run(self._now + seconds, None)

    def run_until(self, done: Callable[[], bool], seconds_max: float) -> None:
        """Let time pass until ``done()``, which is asked after each event.

        Deadlock if nothing is scheduled any more before that, Overdue if it takes longer than ``seconds_max``.
        """
        limit = self._now + seconds_max
        if self._run(limit, done):
            return
        if not self._queue:
            raise Deadlock(f"at {self._now:.6f} s nothing is scheduled any more (seed {self.seed})")
        raise Overdue(f"not within {seconds_max} s, at {self._now:.6f} s (seed {self.seed})")

    def _run(self, until: float, done: Callable[[], bool] | None) -> bool:
        """Run events up to ``until``; whether ``done`` has come true before."""
        collecting = gc.isenabled()
        gc.disable()
        self._until = until
        queue = self._queue
        try:
            if done is not None and done():
                return True
            while queue and queue[0][0] <= until:
                when, _, _, event = heappop(queue)
                action = event.action
                if action is None:
                    continue
                self._now = when
                try:
                    action(*event.args)
                finally:
                    self._ahead = 0.0
                self.events += 1
                if self.events % COLLECT_EVENTS == 0:
                    gc.collect()
                if done is not None and done():
                    return True
            if queue or done is None:
                self._now = until
            return False
        finally:
            if collecting:
                gc.enable()
