"""The proxy's times and memory bounds."""

from dataclasses import dataclass

from sherd.common.errors import ConfigError
from sherd.common.limits import KIB, MIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """Every wait ends and every queue is bounded; here is by what. Seconds and bytes; none bears on durability."""

    request_timeout_s: float = 5.0
    """How long a shard may take for one request before the client gets TIMEOUT; ``deadline_ms`` overrides it. With
    etcd at least 1 s longer than what is held."""
    follower_timeout_s: float = 0.5
    """How long a follower may take for a read that it may answer before the leader is asked."""
    failover_hold_s: float = 2.0
    """How long unsent requests and reads wait for a shard that has no leader before they get UNAVAILABLE. With
    etcd at least 2 s longer than the lease."""
    held_bytes_max: int = 64 * MIB
    """Requests held for one shard; further ones get UNAVAILABLE at once."""
    link_requests_max: int = 200_000
    """Requests under way to one shard, with those given up and not yet answered; further ones get OVERLOADED."""
    link_backlog_bytes_max: int = 128 * MIB
    """Bytes a shard has been sent and has not read; over it, further requests get OVERLOADED."""
    silence_s: float = 10.0
    """A link on which the shard has said nothing for so long, though asked, is cut and opened anew."""
    admin_timeout_s: float = 3600.0
    """How long ``flush`` and ``compact`` may take."""
    connect_timeout_s: float = 2.0
    """How long opening a link to a shard may take, with its handshake."""
    reconnect_s_max: float = 0.25
    """The longest pause between two attempts to open a link; the first is a sixteenth of it."""
    first_frame_s: float = 30.0
    """A client that has not sent its first request by then is disconnected."""
    frame_s: float = 20.0
    """A client that has begun a request must send the rest in this time, and what more its bytes need at ..."""
    frame_bytes_per_s: float = 64 * KIB
    """... this rate."""
    total_bytes_max: int = 1024 * MIB
    """What all connections together may have under way, half received and unread; then new requests are shed."""
    drain_s: float = 10.0
    """How long requests under way may take to finish when the proxy is told to stop."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be over 0, not {getattr(self, name)}")
