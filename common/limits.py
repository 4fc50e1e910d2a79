"""Every limit of the interface, in one place.

A limit that is not configurable is a module constant; what an operator may set is a field of ``Limits``.
"""

from dataclasses import dataclass

from sherd.common.errors import ConfigError

KIB = 1024
MIB = 1024 * KIB

KEY_BYTES_MAX = 4 * KIB
VALUE_NESTING_MAX = 128
FRAME_DEPTH_MAX = VALUE_NESTING_MAX + 4  # around a value: frame, params, operations of a batch, one operation
METHOD_BYTES_MAX = 64
KEYS_PER_REQUEST_MAX = 100_000  # mget and batch
PAGE_BYTES_DEFAULT = 256 * KIB  # scan
PAGE_BYTES_MAX = 4 * MIB
VALUE_BYTES_CEILING = 64 * MIB
FRAME_SLACK_BYTES = 64 * KIB
BATCH_FRAME_BYTES_MIN = 64 * MIB
LINK_SLACK_BYTES = KEYS_PER_REQUEST_MAX + 32 * KIB
"""By how much a frame between processes may pass the limit of clients: a key sent as str takes a byte more as bin, and
a client's short msgid is replaced by one of five bytes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process accepts from its peers. Bytes are of MessagePack as sent."""

    value_bytes_max: int = 8 * MIB
    """Largest encoded value; at most 64 MiB."""
    inflight_requests_max: int = 10_000
    """Requests of one connection under way before the server stops reading from it."""
    inflight_bytes_max: int = 64 * MIB
    """Bytes of one connection's requests under way before the server stops reading from it."""
    unread_bytes_max: int = 64 * MIB
    """Replies a client has not read before it is disconnected."""
    connections_max: int = 10_000
    """Client connections one process accepts; further ones get OVERLOADED and are closed."""

    def __post_init__(self) -> None:
        if not 1 * KIB <= self.value_bytes_max <= VALUE_BYTES_CEILING:
            raise ConfigError(f"value_bytes_max must be 1 KiB to 64 MiB, not {self.value_bytes_max} bytes")
        for name in ("inflight_requests_max", "inflight_bytes_max", "unread_bytes_max", "connections_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def frame_bytes_max(self) -> int:
        """Largest frame of any method but ``batch`` and ``mget``."""
        return self.value_bytes_max + FRAME_SLACK_BYTES

    @property
    def batch_frame_bytes_max(self) -> int:
        """Largest frame of ``batch`` and ``mget``."""
        return max(self.frame_bytes_max, BATCH_FRAME_BYTES_MIN)
