"""The settings of one shard process.

``sherd.shard.worker.run`` gets one of these. A ``StoreError`` or ``ConfigError`` that keeps it from starting is raised
to the caller, which tells the supervisor and picks the exit code.
"""

import os
from dataclasses import dataclass, field
from typing import Literal

from sherd.common.errors import ConfigError
from sherd.common.limits import Limits
from sherd.common.logs import LEVELS
from sherd.common.topology.state import FIRST_REPLICA, replica_dir
from sherd.common.types import ShardId
from sherd.shard.lsm.options import EngineOptions


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """What a shard process is told."""

    id: int
    """The shard's number in the topology, 1 and up."""
    data: str
    """The shard's own directory."""
    listen: str
    """Where proxies reach it: ``HOST:PORT`` or ``unix:/path``."""
    topology: str = field(default="", metadata={"default": "none: the topology is in etcd"})
    """The cluster's topology file, where a supervisor keeps one."""
    advertise: str = field(default="", metadata={"default": "the address it listens at"})
    """Where the cluster's other processes reach it, if that is not the address it listens at."""
    replica: str = FIRST_REPLICA
    """Which of the shard's replicas this is, by its name in the topology."""
    acks: Literal["leader", "insync"] = "leader"
    """What a write waits for beside ``fsync``: nothing (``leader``), or all replicas that are in sync (``insync``)."""
    min_insync: int = 1
    """With ``insync``, writes are refused while fewer replicas are in sync, the leader counted."""
    log_level: str = "info"
    """The least serious events to log: ``debug``, ``info``, ``warning`` or ``error``."""
    ready_fd: int | None = field(default=None, metadata={"plumbing": True})
    """Descriptor to write the ready line to."""
    parent_pid: int | None = field(default=None, metadata={"plumbing": True})
    """The process to die with."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    limits: Limits = field(default_factory=Limits)

    def directory_of(self, replica: str) -> str:
        """Where another replica of the shard has its data, if it is on this host and its name is the usual one."""
        return os.path.join(os.path.dirname(os.path.abspath(self.data)), replica_dir(ShardId(self.id), replica))

    def __post_init__(self) -> None:
        if self.id < 1:
            raise ConfigError(f"a shard's id must be 1 or more, not {self.id}")
        if self.min_insync < 1:
            raise ConfigError(f"min_insync must be 1 or more, not {self.min_insync}")
        if self.log_level not in LEVELS:
            raise ConfigError(f"log_level must be one of {', '.join(LEVELS)}, not {self.log_level!r}")
