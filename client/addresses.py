"""The addresses a client may connect to, and the order in which it tries them.

Any proxy can serve any request, so an address is as good as another. Each new connection starts one further along the
list than the one before it, so that the connections of one client, and the clients of one list, spread; an address
that failed within the last ``SHUNNED_SECONDS`` is tried after those that did not. All are tried before a connect fails.
"""

from collections.abc import Iterable

from sherd.client.retry import NotSent
from sherd.common.net.address import Address, parse_addresses

SHUNNED_SECONDS = 5.0


class Addresses:
    """The addresses of one client. Without I/O; ``now`` is the caller's monotonic clock in seconds.

    ``first`` says where the first connection starts, counted along the list.
    """

    __slots__ = ("_all", "_failed_at", "_next", "_reached")

    def __init__(self, addresses: str | Iterable[str], *, first: int = 0) -> None:
        self._all = parse_addresses(addresses)
        self._failed_at: dict[Address, float] = {}
        self._next = first % len(self._all)
        self._reached = False

    def in_order(self, now: float) -> list[Address]:
        """Every address once, the most promising first."""
        start = self._next
        self._next = (start + 1) % len(self._all)
        rotated = self._all[start:] + self._all[:start]
        return sorted(rotated, key=lambda address: self._is_shunned(address, now))

    def failed(self, address: Address, now: float) -> None:
        """A connection to it could not be made, or broke."""
        self._failed_at[address] = now

    def reached(self, address: Address) -> None:
        """A connection to it was made."""
        self._reached = True
        self._failed_at.pop(address, None)

    def unreachable(self, problems: Iterable[str]) -> NotSent:
        """The error for a round in which every address failed; ``problems`` says how, one for each.

        It is fatal, so that a wrong address is told at once, until any address was reached.
        """
        return NotSent(f"no server can be reached: {'; '.join(problems)}", fatal=not self._reached)

    def __str__(self) -> str:
        return ",".join(map(str, self._all))

    def _is_shunned(self, address: Address, now: float) -> bool:
        failed_at = self._failed_at.get(address)
        return failed_at is not None and now - failed_at < SHUNNED_SECONDS
