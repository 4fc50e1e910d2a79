"""What may be tried again, and when. Without I/O: it is told what went wrong and says how long to wait, or raises.

| what went wrong                                    | known            | put, delete, batch | others |
|----------------------------------------------------|------------------|--------------------|--------|
| ``NotSent``: no connection, or cut before the end  | not executed     | again              | again  |
| UNAVAILABLE, OVERLOADED                            | not executed     | again              | again  |
| ``ConnectionLost`` after the request was sent      | nothing          | ``Timeout``        | again  |
| TIMEOUT from the server                            | nothing          | ``Timeout``        | again  |
| any other error of the server                      | the error is it  | raised             | raised |

Waits grow from ``FIRST_SECONDS`` to ``LONGEST_SECONDS`` by doubling, each cut to a random half to whole of itself so
that many clients do not come back at once ("equal jitter", AWS Architecture Blog, Exponential Backoff And Jitter). When
the next wait would end after the call's deadline, the last error is raised instead: one that says "not executed" stays
``Unavailable`` or ``Overloaded``, one whose outcome is open is ``Timeout``.
"""

import math
from collections.abc import Callable
from typing import NoReturn

from sherd.common.errors import BadRequest, Overloaded, Timeout, Unavailable, WireError

FIRST_SECONDS = 0.02
LONGEST_SECONDS = 1.0

TIMEOUT_SECONDS_DEFAULT = 10.0
CONNECT_SECONDS_DEFAULT = 3.0
MAINTENANCE_SECONDS_DEFAULT = 3600.0
"""``flush`` and ``compact`` answer when the work is done; they wait this long if not told otherwise."""


class TransportError(Exception):
    """Something between client and server broke. Never reaches the caller of a client."""


class NotSent(TransportError):
    """The server can't have executed the request: it was not reached, or did not get all of the request.

    ``fatal``: no server was ever reached by this client, so that waiting for one to come back makes no sense.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class ConnectionLost(TransportError):
    """The request was sent and the connection broke before its reply: the outcome is unknown."""


def seconds_of(timeout: float) -> float:
    """A timeout as given by a caller: seconds, more than 0, or ``math.inf``."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is a number of seconds, not {type(timeout).__name__}")
    if not timeout > 0 or math.isnan(timeout):
        raise BadRequest(f"timeout must be more than 0 seconds, not {timeout}")
    return float(timeout)


class Attempts:
    """The attempts of one call. ``deadline`` is on the caller's monotonic clock; ``random`` gives 0 to 1."""

    __slots__ = ("_deadline", "_enabled", "_failures", "_random")

    def __init__(self, deadline: float, random: Callable[[], float], *, enabled: bool = True) -> None:
        self._deadline = deadline
        self._random = random
        self._enabled = enabled
        self._failures = 0

    def next_delay(self, error: WireError | TransportError, repeatable: bool, now: float) -> float:
        """Seconds to wait before the next attempt. Raises what the caller is to see if there must be none.

        ``repeatable``: whether what was sent does no harm when it is done twice.
        """
        if not self._enabled or not may_repeat(error, repeatable):
            raise_as_seen(error, repeatable)
        longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        delay = longest * (0.5 + 0.5 * self._random())
        if now + delay >= self._deadline:
            raise_as_seen(error, repeatable)
        return delay


def may_repeat(error: WireError | TransportError, repeatable: bool) -> bool:
    """The table above: whether another attempt is safe."""
    if isinstance(error, NotSent):
        return not error.fatal
    if isinstance(error, (Unavailable, Overloaded)):
        return True
    return repeatable and isinstance(error, (ConnectionLost, Timeout))


def as_seen(error: WireError | TransportError, repeatable: bool) -> WireError:
    """The error a caller sees: transport errors become what they mean for the request."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, NotSent) or repeatable:
        return Unavailable(str(error))
    return Timeout(f"{error}; the outcome is unknown")


def raise_as_seen(error: WireError | TransportError, repeatable: bool) -> NoReturn:
    """Raise what ``as_seen`` gives, with the transport's own error as its cause."""
    seen = as_seen(error, repeatable)
    if seen is error:
        raise error
    raise seen from error
