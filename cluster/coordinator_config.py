"""The settings of one coordinator process."""

from dataclasses import dataclass, field
from typing import Literal

from sherd.cluster.config import ClusterConfig
from sherd.common.errors import ConfigError
from sherd.common.logs import LEVELS


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """What a coordinator is told. The shape of the cluster counts when it is made; a later change of ``followers`` is
    taken up."""

    listen: str = "127.0.0.1:7790"
    """Where proxies reach it: ``HOST:PORT``."""
    advertise: str = field(default="", metadata={"default": "the address it listens at"})
    """Where proxies reach it, if that is not the address it listens at."""
    name: str = "coordinator-1"
    """What it is called in logs."""
    shards: int | None = field(default=None, metadata={"default": "what the topology has, else 4"})
    """Shards of a new cluster, numbered from 1."""
    followers: int | None = field(default=None, metadata={"default": "what the topology has, else 1"})
    """Followers of each shard: its replicas are called 1 to FOLLOWERS + 1."""
    partition: Literal["hash", "range"] | None = field(default=None, metadata={"default": "what it has, else hash"})
    """How keys are spread over shards: by consistent hashing, or in ranges that keep neighbours together."""
    split_at: tuple[str, ...] = ()
    """Range mode: the keys at which ranges begin, in order, with commas between."""
    log_level: str = "info"
    """The least serious events to log: ``debug``, ``info``, ``warning`` or ``error``."""

    def shape(self) -> ClusterConfig:
        """The cluster's shape, as a new topology is made of it."""
        return ClusterConfig(
            data="the cluster in etcd", shards=self.shards, followers=self.followers, partition=self.partition,
            split_at=self.split_at,
        )  # fmt: skip

    def __post_init__(self) -> None:
        self.shape()
        if self.log_level not in LEVELS:
            raise ConfigError(f"log_level must be one of {', '.join(LEVELS)}, not {self.log_level!r}")
