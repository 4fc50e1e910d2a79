"""The settings of a cluster on one host, for ``sherd up``."""

from dataclasses import dataclass, field
from typing import Literal

from sherd.common.errors import ConfigError
from sherd.common.logs import LEVELS
from sherd.common.net.address import parse_address

SHARDS_DEFAULT = 4
FOLLOWERS_DEFAULT = 1
SHARDS_MAX = 1024
PROXIES_MAX = 64
FOLLOWERS_MAX = 8


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What the supervisor is told. ``shards``, ``partition`` and ``split_at`` shape a new directory only."""

    data: str = "./sherd-data"
    """Directory of the whole cluster; each shard has its own inside."""
    shards: int | None = field(default=None, metadata={"default": "what DIR has, else 4"})
    """Shard processes, each with its own part of the keys. An existing directory keeps the number it was made with."""
    followers: int | None = field(default=None, metadata={"default": "what DIR has, else 1"})
    """Followers of each shard: copies in processes of their own, of which one takes over when the leader dies."""
    acks: Literal["leader", "insync"] = "leader"
    """What a write waits for beside ``fsync``: nothing (``leader``), or all followers that are in sync (``insync``)."""
    min_insync: int = 1
    """How many replicas of a shard, its leader counted, have to be in sync for a write with ``insync``; while there
    are fewer it is refused with UNAVAILABLE. At most the followers and one."""
    proxies: int = 1
    """Proxy processes. They share one port; the kernel spreads connections over them."""
    partition: Literal["hash", "range"] | None = field(default=None, metadata={"default": "what DIR has, else hash"})
    """How keys are spread over shards: by consistent hashing, or in ranges that keep neighbours together."""
    split_at: tuple[str, ...] = ()
    """Range mode: the keys at which ranges begin, in order, with commas between. Without them the printable-ASCII
    space of a key's first two bytes is cut evenly."""
    listen: str = "127.0.0.1:7700"
    """Where clients connect: ``HOST:PORT``. Port 0 takes any free one, which the ready line tells."""
    http: str = "off"
    """Address of the HTTP gateway. This version has none: ``off`` only."""
    log_level: str = "info"
    """The least serious events to log: ``debug``, ``info``, ``warning`` or ``error``."""
    ready_seconds_max: float = 600.0
    """How long a process may take to serve, replay of its log included, before it is killed and started again."""
    restart_seconds_min: float = 0.1
    """Pause before the second restart in a row of a process that dies; the first restart is at once. It doubles
    with each further one."""
    restart_seconds_max: float = 10.0
    """The longest pause before a restart."""
    answer_seconds_max: float = 15.0
    """How long a shard may leave the supervisor's ping unanswered before it is killed and started again."""
    stable_seconds: float = 30.0
    """A process that has served for this long starts over with an immediate restart."""
    stop_seconds_max: float = 60.0
    """How long proxies, and then shards, may take to stop before they are killed. A killed shard loses nothing, but
    replays its log at the next start."""

    def __post_init__(self) -> None:
        if self.shards is not None and not 1 <= self.shards <= SHARDS_MAX:
            raise ConfigError(f"shards must be 1 to {SHARDS_MAX}, not {self.shards}")
        if not 1 <= self.proxies <= PROXIES_MAX:
            raise ConfigError(f"proxies must be 1 to {PROXIES_MAX}, not {self.proxies}")
        if parse_address(self.listen).is_unix:
            raise ConfigError(f"listen must be HOST:PORT, not {self.listen}")
        if self.followers is not None and not 0 <= self.followers <= FOLLOWERS_MAX:
            raise ConfigError(f"followers must be 0 to {FOLLOWERS_MAX}, not {self.followers}")
        if self.acks not in ("leader", "insync"):
            raise ConfigError(f"acks must be leader or insync, not {self.acks!r}")
        if self.min_insync < 1:
            raise ConfigError(f"min_insync must be 1 or more, not {self.min_insync}")
        if self.http != "off":
            raise ConfigError(f"the HTTP gateway is not available in this version: use --http off, not {self.http}")
        if self.split_at and self.partition == "hash":
            raise ConfigError("split keys have no meaning with --partition hash; use --partition range")
        if self.log_level not in LEVELS:
            raise ConfigError(f"log_level must be one of {', '.join(LEVELS)}, not {self.log_level!r}")
        for name in (
            "ready_seconds_max", "answer_seconds_max", "restart_seconds_min", "restart_seconds_max", "stop_seconds_max",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be over 0, not {getattr(self, name)}")
