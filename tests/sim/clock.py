"""A host's clocks: of the right time and of each other's they know only so much.

The wall clock is off by ``offset_seconds`` and can be set (``step``). The monotonic clock begins anywhere and runs at
``rate`` seconds a second, as the wall clock does. While the host sleeps it stands still; the boot-time clock goes on.
"""

from dataclasses import dataclass

from sim.scheduler import Scheduler

EPOCH_SECONDS = 1_800_000_000
RATE_ERROR_MAX = 1e-4
OFFSET_SECONDS_MAX = 0.05
START_SECONDS_MAX = 1e5


@dataclass(slots=True)
class SimClock:
    """A ``Clock``. ``start_seconds`` is what the monotonic clock shows when the simulation begins."""

    scheduler: Scheduler
    offset_seconds: float = 0.0
    rate: float = 1.0
    start_seconds: float = 0.0
    slept_seconds: float = 0.0
    asleep_since: float | None = None

    def now_ms(self) -> int:
        return int((EPOCH_SECONDS + self.offset_seconds + self.scheduler.now * self.rate) * 1000)

    def monotonic(self) -> float:
        return self.boottime() - self._slept() * self.rate

    def boottime(self) -> float:
        return self.start_seconds + self.scheduler.now * self.rate

    def step(self, seconds: float) -> None:
        """Somebody sets the wall clock forward, or back."""
        self.offset_seconds += seconds

    def fall_asleep(self) -> None:
        """The host is suspended."""
        if self.asleep_since is None:
            self.asleep_since = self.scheduler.now

    def wake(self) -> None:
        self.slept_seconds = self._slept()
        self.asleep_since = None

    def true_time(self, monotonic: float) -> float:
        """When, in virtual time, the monotonic clock shows this, if the host does not sleep until then."""
        return (monotonic - self.start_seconds) / self.rate + self._slept()

    def _slept(self) -> float:
        if self.asleep_since is None:
            return self.slept_seconds
        return self.slept_seconds + self.scheduler.now - self.asleep_since


def drifting_clock(scheduler: Scheduler, host: str) -> SimClock:
    """Clocks of a host as they come: within the limits above."""
    dice = scheduler.dice("clock", host)
    return SimClock(
        scheduler,
        offset_seconds=dice.uniform(-OFFSET_SECONDS_MAX, OFFSET_SECONDS_MAX),
        rate=1.0 + dice.uniform(-RATE_ERROR_MAX, RATE_ERROR_MAX),
        start_seconds=dice.uniform(0.0, START_SECONDS_MAX),
    )
