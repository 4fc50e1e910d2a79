"""What is asked of etcd, as values: so that the gateway's client and a simulation are one interface.

Keys are text, values bytes. Every change of any key raises the store's ``revision`` by one; a key remembers the
revision of its last change. A key may hang on a lease and goes when the lease ends.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sherd.common.errors import SherdError


class EtcdUnavailable(SherdError):
    """etcd did not answer, or not in time: whether the request was carried out is unknown."""


class EtcdRefused(SherdError):
    """etcd answered that it will not do it: credentials, a limit, a request it does not understand."""


class LeaseEnded(EtcdRefused):
    """What was to be written would have hung on a lease that has ended; nothing was written."""


class WatchLost(SherdError):
    """The changes from the revision asked for on are no longer there: read anew, and watch from that revision on."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it is at one revision; ``lease`` 0 if it hangs on none."""

    key: str
    value: bytes
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Absent:
    """A condition: the key is not there."""

    key: str


@dataclass(frozen=True, slots=True)
class Holds:
    """A condition: the key is there with this value."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key, on a lease if one is named."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key, if it is there."""

    key: str


@dataclass(frozen=True, slots=True)
class Change:
    """A key was set, or removed (``value`` None), at ``revision``."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Lease:
    """``ttl_seconds`` is what etcd granted, which may be more than was asked for."""

    id: int
    ttl_seconds: int


class Etcd(Protocol):
    """One etcd cluster. Every method raises EtcdUnavailable or EtcdRefused when it can't answer."""

    async def read_prefix(self, prefix: str) -> tuple[int, list[KeyValue]]:
        """The store's revision, and the keys that begin with ``prefix`` as they are at it, in order."""
        ...

    async def transact(self, conditions: Sequence[Absent | Holds], changes: Sequence[Put | Delete]) -> bool:
        """Make all changes at once if all conditions hold; whether they did. A key may be changed once only.

        LeaseEnded if a lease that is named is not there. After EtcdUnavailable the changes may have been made, or may
        yet be: they are never sent a second time.
        """
        ...

    async def grant(self, ttl_seconds: int) -> Lease:
        """A new lease."""
        ...

    async def keep_alive(self, lease: int) -> int:
        """Renew a lease: its seconds from when the request was received; 0 if it has ended."""
        ...

    async def revoke(self, lease: int) -> None:
        """End a lease, and remove the keys that hang on it. Harmless if it has ended."""
        ...

    def watch(self, prefix: str, revision: int) -> AsyncGenerator[Sequence[Change], None]:
        """Changes of keys that begin with ``prefix``, from ``revision`` on, in order; those of one revision together.

        Ends by EtcdUnavailable when the connection does, or by WatchLost. Who stops before closes it (``aclosing``).
        """
        ...

    async def close(self) -> None:
        """Let go of connections. Nothing may be asked afterwards."""
        ...
