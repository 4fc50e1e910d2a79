"""The settings of one proxy process; ``sherd.proxy.main.run`` gets one of these."""

from dataclasses import dataclass, field
from typing import Literal

from sherd.common.errors import ConfigError
from sherd.common.limits import Limits
from sherd.common.logs import LEVELS
from sherd.common.wire.requests import DEADLINE_MS_MAX
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
    reads: Literal["leader", "followers"] = "leader"
    """Who answers reads that ask for neither ``stale_ms`` nor ``at``: leaders, or followers as far as ``stale_ms`` of
    this proxy allows it."""
    stale_ms: int = 1000
    """With ``reads`` of ``followers``: how many ms old what they answer may be, for reads that do not say it."""
    read_only: bool = False
    """Answer ``put``, ``delete`` and ``batch`` with FORBIDDEN."""
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
        if self.reads not in ("leader", "followers"):
            raise ConfigError(f"reads must be leader or followers, not {self.reads!r}")
        if not 1 <= self.stale_ms <= DEADLINE_MS_MAX:
            raise ConfigError(f"stale_ms must be 1 to {DEADLINE_MS_MAX}, not {self.stale_ms}")
        if self.log_level not in LEVELS:
            raise ConfigError(f"log_level must be one of {', '.join(LEVELS)}, not {self.log_level!r}")

    @property
    def default_stale_ms(self) -> int:
        """The bound for reads that say none; 0: those are the leader's."""
        return self.stale_ms if self.reads == "followers" else 0
