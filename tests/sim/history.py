"""What clients asked of single keys and what they were told, with the order of it in real time.

``invoked`` and ``returned`` are positions in one count of everything that clients saw: an operation that returned
before another was invoked came before it. An operation whose outcome is unknown may take effect at any time after it
was invoked, or never; so it never returns.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

NEVER = 1 << 62
"""``returned`` of an operation whose end nobody has seen."""

Kind = Literal["get", "put", "delete"]


class Outcome(Enum):
    """How an operation ended for the client."""

    OK = "ok"
    CONFLICT = "conflict"
    """``if_version`` did not hold."""
    FAILED = "failed"
    """It was certainly not executed."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one key. What is None is not known, or means nothing for its kind."""

    client: str
    kind: Kind
    key: bytes
    invoked: int
    value: bytes | None = None
    """To be put."""
    if_version: int | None = None
    """What the key's version has to be, 0 for an absent key."""
    returned: int = NEVER
    outcome: Outcome = Outcome.UNKNOWN
    found: bytes | None = None
    """Of a get: the value; None for an absent key."""
    version: int | None = None
    """Of a put: the new one. Of a get, or a conflict: the present one."""
    existed: bool | None = None
    """Of a delete."""

    def __str__(self) -> str:
        asked = f"{self.kind} {self.key!r}"
        if self.kind == "put":
            asked += f" = {_short(self.value)}"
        if self.if_version is not None:
            asked += f" if version {self.if_version}"
        end = "..." if self.returned == NEVER else self.returned
        return f"{self.client} [{self.invoked}, {end}] {asked} -> {self._told()}"

    def _told(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        if self.outcome is not Outcome.OK:
            return self.outcome.value + version
        if self.kind == "get":
            return _short(self.found) + version
        return f"ok{version}" if self.kind == "put" else f"existed {self.existed}"


def _short(value: bytes | None) -> str:
    return repr(value) if value is None or len(value) <= 24 else f"{value[:20]!r}..."


class History:
    """Collects operations as clients begin and end them."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._moments = 0

    def begin(
        self, client: str, kind: Kind, key: bytes, value: bytes | None = None, if_version: int | None = None
    ) -> int:
        """An operation is about to be sent; its number."""
        self._operations.append(Operation(client, kind, key, self._moment(), value, if_version))
        return len(self._operations) - 1

    def end(
        self,
        number: int,
        outcome: Outcome = Outcome.OK,
        found: bytes | None = None,
        version: int | None = None,
        existed: bool | None = None,
    ) -> None:
        """The client has been told. An operation with an unknown outcome may be ended so, or not at all."""
        returned = NEVER if outcome is Outcome.UNKNOWN else self._moment()
        self._operations[number] = replace(
            self._operations[number],
            returned=returned,
            outcome=outcome,
            found=found,
            version=version,
            existed=existed,
        )

    def _moment(self) -> int:
        self._moments += 1
        return self._moments

    @property
    def operations(self) -> list[Operation]:
        """All of them, in the order in which they were begun."""
        return list(self._operations)
