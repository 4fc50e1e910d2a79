"""Shard time: the later of the wall clock and every time seen so far, so that expiry never runs backwards.

Each record of the log carries the leader's time. A successor that replays the log starts from there, whatever its own
wall clock says. What a reader was told within one process holds as well: time that was shown is never taken back.
"""

import cython

from sherd.common.clock import Clock


@cython.cclass
class ShardTime:
    """``logged_ms`` is the latest time in the log: what compaction judges expiry by, for every replica has it."""

    def __init__(self, clock: Clock, logged_ms: int = 0) -> None:
        self._clock = clock
        self._shown_ms = logged_ms
        self.logged_ms = logged_ms

    @cython.ccall
    @cython.exceptval(0, check=True)
    def now_ms(self) -> cython.ulonglong:
        """Milliseconds since the epoch; never runs backwards."""
        wall_ms: cython.ulonglong = self._clock.now_ms()
        if wall_ms > self._shown_ms:
            self._shown_ms = wall_ms
        return self._shown_ms

    @cython.ccall
    def seen(self, time_ms: cython.ulonglong) -> None:
        """The leader's time was this: what has expired there is not shown here any more."""
        if time_ms > self._shown_ms:
            self._shown_ms = time_ms

    @cython.ccall
    def logged(self, time_ms: cython.ulonglong) -> None:
        """A record with this time was written or replayed."""
        if time_ms > self.logged_ms:
            self.logged_ms = time_ms
            self._shown_ms = max(self._shown_ms, time_ms)
