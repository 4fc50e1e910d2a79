"""When errors are to be expected, and which: from a kill until a moment after the shard serves again.

Expected are Unavailable, Overloaded and Timeout, and a Partial whose parts failed by these alone. A broken answer never
is, nor any error outside the window.
"""

import time

from sherd.common.errors import Overloaded, Partial, Timeout, Unavailable

LINGER_SECONDS = 1.0
"""How long after the shard serves again others may still find out that its old connections are gone."""

RETRYABLE = (Unavailable, Overloaded, Timeout)
RETRYABLE_CODES = frozenset(kind.code for kind in RETRYABLE)


class FaultWindow:
    """The latest fault of a run."""

    def __init__(self) -> None:
        self._ended = -float("inf")
        self._under_way = False

    def begin(self) -> None:
        """A process is about to be killed."""
        self._under_way = True

    def end(self) -> None:
        """All is well again."""
        self._under_way = False
        self._ended = time.monotonic()

    def expects(self, error: Exception, seconds: float) -> bool:
        """Whether ``error``, of a call that ended now and took ``seconds``, is of the kind a fault explains."""
        in_time = self._under_way or time.monotonic() - seconds <= self._ended + LINGER_SECONDS
        return in_time and is_retryable(error)


def is_retryable(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, Partial):
        return all(code in RETRYABLE_CODES for _, code, _ in error.failed)
    return isinstance(error, RETRYABLE)
