"""Where the log is synced: on the loop as long as the disk is quick, in a thread when it is not.

A thread lets reads go on while the disk is busy, but waking it and being woken by it costs two switches between
processes and twice the interpreter's lock: more than a sync of a few KiB takes on a disk with a write cache. So small
syncs run on the loop until they take too long, as an average that forgets; then the thread has them for a time that
doubles, up to a minute, with every attempt on the loop that was too long again.

Invariant: the loop waits for a disk that is not quick at most once in ``AWAY_SECONDS``, and ever more rarely.
"""

from typing import Final

QUICK_SECONDS: Final = 0.001
"""A sync that takes longer, on average, holds up reads more than the thread would cost."""
SMALL_BYTES: Final = 256 << 10
"""More than this is written by the disk itself, whatever it promises, and is always left to the thread."""
AWAY_SECONDS: Final = 1.0
AWAY_SECONDS_MAX: Final = 60.0
_WEIGHT = 1 / 8  # of the last sync in the average


class SyncPlace:
    """Chooses for each sync. ``now`` and ``seconds`` are of one clock that never runs backwards."""

    def __init__(self) -> None:
        self._average = 0.0
        self._away_seconds = AWAY_SECONDS
        self._away_until = float("-inf")

    def is_here(self, now: float, unsynced_bytes: int) -> bool:
        """Whether ``unsynced_bytes`` are to be synced on the loop."""
        return unsynced_bytes <= SMALL_BYTES and now >= self._away_until

    def took(self, now: float, seconds: float) -> None:
        """A sync on the loop that ended at ``now`` took ``seconds``."""
        self._average += _WEIGHT * (seconds - self._average)
        if self._average > QUICK_SECONDS:
            self._average = 0.0
            self._away_until = now + self._away_seconds
            self._away_seconds = min(2 * self._away_seconds, AWAY_SECONDS_MAX)
        elif now - self._away_until > self._away_seconds:  # quick for as long as it would have been away
            self._away_seconds = AWAY_SECONDS
