"""Time, handed in.

``now_ms`` is the wall clock (expiry is an absolute time that must mean the same on every host); ``monotonic`` measures
durations and deadlines and never jumps; ``boottime`` also counts while the machine sleeps.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now_ms(self) -> int:
        """Wall-clock time: milliseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never runs backwards."""
        ...

    def boottime(self) -> float:
        """As ``monotonic``, and goes on while the machine sleeps: for leases, which others hold to their own clocks."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class ManualClock:
    """A clock that moves only when told; for tests and simulation."""

    __slots__ = ("monotonic_s", "wall_ms")

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self.wall_ms = wall_ms
        self.monotonic_s = 0.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.monotonic_s

    def boottime(self) -> float:
        return self.monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.wall_ms += round(seconds * 1000)
        self.monotonic_s += seconds
