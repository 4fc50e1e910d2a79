"""Many requests of one pipeline on their way: what became of each, and what may be sent again.

Without I/O; both faces drive it. Requests are never reordered and never done twice unless that does no harm: after a
failure the rest is sent again only if every request that was sent and not answered is repeatable. Replies that are
errors are results here (trying one again would move it behind those that came after it).
"""

from collections.abc import Sequence
from typing import Any, Final

from sherd.client.requests import Request
from sherd.client.retry import Attempts, ConnectionLost, NotSent, TransportError, as_seen
from sherd.common.errors import Unavailable, WireError

UNSENT: Final = object()
"""In the place of an outcome: the request was not sent."""
UNANSWERED: Final = object()
"""In the place of an outcome: the request was sent and its reply has not come."""


class Exchange:
    """``outcomes[i]`` is what became of ``requests[i]``: UNSENT, UNANSWERED, a wire result, or an exception."""

    __slots__ = ("_attempts", "outcomes", "requests")

    def __init__(self, requests: Sequence[Request[Any]], attempts: Attempts) -> None:
        self.requests = requests
        self.outcomes: list[Any] = [UNSENT] * len(requests)
        self._attempts = attempts

    def unsent(self) -> list[int]:
        """Positions of the requests to send, in order."""
        return [position for position, outcome in enumerate(self.outcomes) if outcome is UNSENT]

    def next_delay(self, error: WireError | TransportError, now: float) -> float | None:
        """Seconds to wait before what is left is sent; None if it must not be: then each one has its error."""
        unanswered = [position for position, outcome in enumerate(self.outcomes) if outcome is UNANSWERED]
        if unanswered and isinstance(error, NotSent):  # true of the last request, but not of those before it
            error = ConnectionLost(str(error))
        try:
            repeatable = all(self.requests[position].repeatable for position in unanswered)
            delay = self._attempts.next_delay(error, repeatable, now)
        except WireError:
            for position in unanswered:
                self.outcomes[position] = as_seen(error, self.requests[position].repeatable)
            for position in self.unsent():
                self.outcomes[position] = Unavailable(f"not sent: {error}")
            return None
        for position in unanswered:
            self.outcomes[position] = UNSENT
        return delay

    def results(self) -> list[Any]:
        """A result as the caller gets it, or an exception, for each request."""
        return [self._result(*pair) for pair in zip(self.requests, self.outcomes, strict=True)]

    @staticmethod
    def _result(request: Request[Any], outcome: Any) -> Any:
        if isinstance(outcome, Exception):
            return outcome
        try:
            return request.read(outcome)
        except Exception as error:  # noqa: BLE001 - what an encoder raises is the outcome of that request
            return error
