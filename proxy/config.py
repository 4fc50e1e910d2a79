"""The settings of one proxy process; ``sherd.proxy.main.run`` gets one of these."""

from dataclasses import dataclass, field

from sherd.common.errors import ConfigError
from sherd.common.limits import Limits
from sherd.common.logs import LEVELS
from sherd.proxy.bounds import Bounds


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """What a proxy process is told."""

    listen: str
    """Where clients reach it: ``HOST:PORT`` or ``unix:/path``. Several proxies of one host share a port."""
    topology: str = field(default="", metadata={"default": "none: the topology is in etcd"})
    """The cluster's topology file, where a supervisor keeps one."""
    name: str = "proxy-1"
    """What shards know this proxy by; no two of one cluster are called the same."""
    log_level: str = "info"
    """The least serious events to log: ``debug``, ``info``, ``warning`` or ``error``."""
    ready_fd: int | None = field(default=None, metadata={"plumbing": True})
    """Descriptor to write the ready line to."""
    parent_pid: int | None = field(default=None, metadata={"plumbing": True})
    """The process to die with."""
    limits: Limits = field(default_factory=Limits)
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a proxy needs a name")
        if self.log_level not in LEVELS:
            raise ConfigError(f"log_level must be one of {', '.join(LEVELS)}, not {self.log_level!r}")
