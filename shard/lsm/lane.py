"""A lane of background work: one piece is out at a time, and one that failed is tried again after a growing pause."""

from sherd.common.clock import Clock
from sherd.shard.lsm.job_types import Job

RETRY_SECONDS_MIN = 0.5
RETRY_SECONDS_MAX = 60.0


class Lane:
    """``name`` says what it does. ``failures`` in a row since a piece was last done, the latest with ``error``."""

    __slots__ = ("_clock", "_failed_at", "error", "failures", "job", "name")

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.job: Job | None = None
        self.failures = 0
        self.error = ""
        self._clock = clock
        self._failed_at = 0.0

    @property
    def open(self) -> bool:
        """Whether a piece may go out now."""
        return self.job is None and (not self.failures or self._seconds_since >= self._pause_seconds)

    @property
    def _seconds_since(self) -> float:
        return self._clock.monotonic() - self._failed_at

    @property
    def _pause_seconds(self) -> float:
        return float(min(RETRY_SECONDS_MIN * 2 ** min(self.failures - 1, 10), RETRY_SECONDS_MAX))

    @property
    def failed_seconds_ago(self) -> float | None:
        """How long ago a piece failed last, also if it was done since; None if none ever did."""
        return self._seconds_since if self.error else None

    def done(self) -> None:
        """The piece that was out is done."""
        self.job = None
        self.failures = 0

    def failed(self, error: Exception) -> None:
        """The piece that was out was not done."""
        self.job = None
        self.failures += 1
        self.error = f"{type(error).__name__}: {error}"
        self._failed_at = self._clock.monotonic()
