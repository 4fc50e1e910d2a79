"""The error tree. Each error that can cross the wire has a stable code and name.

SherdError
├── WireError                  crosses the wire as [code, "NAME message", details]
│   ├── BadRequest        1    malformed request; the message says which field
│   ├── UnknownMethod     2
│   ├── TooLarge          3    key, value, batch or response over a limit; names the limit
│   ├── Conflict          4    if_version did not hold; .version is the present one
│   ├── Partial           5    of a batch over several shards; .done .failed .unknown
│   ├── Unauthenticated  10
│   ├── Forbidden        11
│   ├── Overloaded       20    shed before it was executed; retry with backoff
│   ├── Unavailable      21    not executed; retry
│   ├── Timeout          22    the outcome is unknown; also a TimeoutError
│   ├── WrongShard       30    between processes: refused before execution, .layout to look for
│   ├── NotLeader        31    between processes: refused before execution
│   ├── Corruption       40    a checksum failed, or the disk does not give the data
│   └── Internal         41    a bug
├── ConfigError                a setting is wrong; raised at start only
└── StoreError                 a data directory cannot be used
    ├── StoreLocked            another process has it open
    ├── StoreFormat            written by another version, or not a data directory
    ├── StoreReadOnly          no permission to write
    ├── StoreFull              no room on the disk; nothing was written
    ├── StoreCorrupt           refused to open; names file and offset
    ├── StorePoisoned          a write or fsync failed; reopen to recover
    └── StoreClosed            used after close
"""

from collections.abc import Mapping
from typing import ClassVar, Self


class SherdError(Exception):
    """Base of everything Sherd raises on purpose."""


class ConfigError(SherdError):
    """A setting is missing, unknown or out of range."""


class StoreError(SherdError):
    """A data directory cannot be used as asked; the message says why and what to do."""


class StoreLocked(StoreError):
    """Another process has the directory open."""


class StoreFormat(StoreError):
    """The directory or a file in it is of another version, or is not Sherd's."""


class StoreReadOnly(StoreError):
    """The directory cannot be written."""


class StoreFull(StoreError):
    """The disk has no room; the operation was refused before anything was staged."""


class StoreCorrupt(StoreError):
    """Data that must be there is damaged or missing; the message names file and offset."""


class StorePoisoned(StoreError):
    """A write or fsync failed earlier; the store answers nothing until it is reopened."""


class StoreClosed(StoreError):
    """The store was closed."""


class WireError(SherdError):
    """An error with a wire code. ``details`` is a MessagePack-able map or nil."""

    code: ClassVar[int] = 41
    name: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str = "", details: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[type[Self], tuple[str, object]]:
        return type(self), (self.message, self.details)

    def _detail(self, name: str) -> object:
        return self.details.get(name) if isinstance(self.details, Mapping) else None

    def wire(self) -> list[object]:
        """The error as it crosses the wire: ``[code, "NAME message", details]``."""
        return [self.code, f"{self.name} {self.message}".rstrip(), self.details]


class BadRequest(WireError):
    """The request is malformed; nothing was executed."""

    code, name = 1, "BAD_REQUEST"


class UnknownMethod(WireError):
    """No such method."""

    code, name = 2, "UNKNOWN_METHOD"


class TooLarge(WireError):
    """A key, value, batch, frame or response is over a limit, which the message names."""

    code, name = 3, "TOO_LARGE"


class Conflict(WireError):
    """``if_version`` did not hold; ``version`` is the key's present version, 0 if absent."""

    code, name = 4, "CONFLICT"

    @property
    def version(self) -> int | None:
        found = self._detail("version")
        return found if isinstance(found, int) else None


class Partial(WireError):
    """A batch over several shards took effect on some only. Positions index the batch's operations."""

    code, name = 5, "PARTIAL"

    def _positions(self, name: str) -> list[int]:
        found = self._detail(name)
        return [int(position) for position in found] if isinstance(found, list) else []

    @property
    def done(self) -> list[int]:
        return self._positions("done")

    @property
    def unknown(self) -> list[int]:
        return self._positions("unknown")

    @property
    def failed(self) -> list[tuple[int, int, str]]:
        found = self._detail("failed")
        return [(int(i), int(code), str(text)) for i, code, text in found] if isinstance(found, list) else []


class Unauthenticated(WireError):
    """The connection has not shown who it is."""

    code, name = 10, "UNAUTHENTICATED"


class Forbidden(WireError):
    """The connection may not do this."""

    code, name = 11, "FORBIDDEN"


class Overloaded(WireError):
    """Shed before it was executed; retry with backoff."""

    code, name = 20, "OVERLOADED"


class Unavailable(WireError):
    """Nobody can serve the key right now; not executed."""

    code, name = 21, "UNAVAILABLE"


class Timeout(WireError, TimeoutError):
    """No answer in time: the outcome is unknown."""

    code, name = 22, "TIMEOUT"


class WrongShard(WireError):
    """This shard does not own the key's token; details carry ``layout``, the counter to look for."""

    code, name = 30, "WRONG_SHARD"


class NotLeader(WireError):
    """This process does not lead the shard."""

    code, name = 31, "NOT_LEADER"


class Corruption(WireError):
    """A checksum failed, or the disk does not give the data; nothing was served. The message names file and offset."""

    code, name = 40, "CORRUPTION"


class Internal(WireError):
    """A bug."""

    code, name = 41, "INTERNAL"


BY_CODE: Mapping[int, type[WireError]] = {
    kind.code: kind
    for kind in (
        BadRequest, UnknownMethod, TooLarge, Conflict, Partial, Unauthenticated, Forbidden, Overloaded, Unavailable,
        Timeout, WrongShard, NotLeader, Corruption, Internal,
    )
}  # fmt: skip


def from_wire(error: object) -> WireError:
    """The exception for a decoded wire error, in either of its two forms (array, or ``"NAME message"``)."""
    if isinstance(error, (list, tuple)) and len(error) >= 2 and isinstance(error[0], int):
        text = str(error[1])
        kind = BY_CODE.get(error[0], Internal)
        details = error[2] if len(error) > 2 else None
    else:
        text, details = str(error), None
        by_name = {kind.name: kind for kind in BY_CODE.values()}
        kind = by_name.get(text.partition(" ")[0], Internal)
    return kind(text.removeprefix(kind.name).lstrip(), details)
