"""``sherd shard``, ``proxy`` and ``coordinator``: one process each, on its own or as a supervisor starts it.

Where the topology is tells which: in a file under a supervisor on this host, in etcd for a cluster on many.
"""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from sherd.cli.failure import describe
from sherd.cli.settings import setting_options, sources_of
from sherd.cluster.coordinator_config import CoordinatorConfig
from sherd.cluster.etcd.config import EtcdConfig
from sherd.common.errors import ConfigError, SherdError
from sherd.common.exit_codes import ExitCode, exit_code_of
from sherd.common.limits import Limits
from sherd.common.logs import configure_logs
from sherd.common.net.address import parse_address
from sherd.common.ready import announce_refusal
from sherd.common.topology.source import TopologySource
from sherd.common.topology.state import FIRST_REPLICA
from sherd.common.topology.watched_file import WatchedTopology
from sherd.common.types import ShardId
from sherd.common.world import World
from sherd.proxy.bounds import Bounds
from sherd.proxy.config import ProxyConfig
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.replication.seat import Seat, SupervisedSeat

if TYPE_CHECKING:
    from sherd.cluster.etcd.api import Etcd
    from sherd.cluster.etcd.topology import EtcdTopology

ELECTION_SECONDS = 2.0
"""How long after the end of a leader's lease its successor may take, for requests to wait for it."""
ANSWER_SECONDS = 1.0
"""How long after that the successor may take to answer them."""


@click.command("shard")
@setting_options("shard", "engine", "limits", "etcd")
def shard_command(config_file: str | None, **values: str | None) -> int:
    """One replica of one shard, with its own directory."""

    def serve() -> int:
        sources = sources_of(config_file, values)
        engine, limits = sources.load("engine", EngineOptions), sources.load("limits", Limits)
        config = sources.load("shard", ShardConfig, engine=engine, limits=limits)
        etcd = sources.load("etcd", EtcdConfig)
        check_place(config.topology, etcd)
        check_reachable(config.listen, config.advertise)
        name = f"shard-{config.id}" if config.replica == FIRST_REPLICA else f"shard-{config.id}-{config.replica}"
        configure_logs(config.log_level, name)
        from sherd.shard.worker import run

        return run(config, lambda world: _seat(config, etcd, world))

    return _supervised(serve, values, "shard")


@click.command("proxy")
@setting_options("proxy", "limits", "bounds", "etcd")
def proxy_command(config_file: str | None, **values: str | None) -> int:
    """One proxy process."""

    def serve() -> int:
        sources = sources_of(config_file, values)
        limits, bounds = sources.load("limits", Limits), sources.load("bounds", Bounds)
        etcd = sources.load("etcd", EtcdConfig)
        if etcd.endpoints:  # a shard may be without a leader for as long as the lease of the last one lasts
            hold = max(bounds.failover_hold_s, etcd.lease_seconds + ELECTION_SECONDS)
            longest = max(bounds.request_timeout_s, hold + ANSWER_SECONDS)
            bounds = replace(bounds, failover_hold_s=hold, request_timeout_s=longest)
        config = sources.load("proxy", ProxyConfig, limits=limits, bounds=bounds)
        check_place(config.topology, etcd)
        configure_logs(config.log_level, config.name)
        from sherd.proxy.main import run

        return run(config, lambda world: _source(config.topology, etcd, world))

    return _supervised(serve, values, "proxy")


@click.command("coordinator")
@setting_options("coordinator", "etcd")
def coordinator_command(config_file: str | None, **values: str | None) -> int:
    """One coordinator of a cluster whose topology is in etcd.

    Several may run, on different hosts: one is active, and another takes over when it is gone.
    """

    def serve() -> int:
        sources = sources_of(config_file, values)
        etcd = sources.load("etcd", EtcdConfig)
        if not etcd.endpoints:
            raise ConfigError("a coordinator needs etcd: name its members with --etcd-endpoints")
        config = sources.load("coordinator", CoordinatorConfig)
        check_reachable(config.listen, config.advertise)
        configure_logs(config.log_level, config.name)
        from sherd.cluster.coordinator import run

        return run(config, lambda world: _topology_in(etcd, world), etcd.lease_seconds)

    return _supervised(serve, values, "coordinator")


def check_place(topology: str, etcd: EtcdConfig) -> None:
    """ConfigError unless it is said where the topology is, once."""
    if bool(topology) == bool(etcd.endpoints):
        raise ConfigError("name either this host's topology file (--topology) or etcd's members (--etcd-endpoints)")


def check_reachable(listen: str, advertise: str) -> None:
    """ConfigError if the others would be told an address that nobody can connect to."""
    if parse_address(advertise or listen).is_everywhere:
        raise ConfigError(
            f"the other processes cannot reach {advertise or listen}: say with --advertise at which of this host's "
            "addresses they can"
        )


def _source(path: str, etcd: EtcdConfig, world: World) -> TopologySource:
    if path:
        return WatchedTopology(world.disk, path)
    from sherd.cluster.etcd.source import EtcdSource

    return EtcdSource(*_topology_in(etcd, world))


def _seat(config: ShardConfig, etcd: EtcdConfig, world: World) -> Seat:
    if config.topology:
        return SupervisedSeat(WatchedTopology(world.disk, config.topology))
    from sherd.cluster.etcd.seat import LeasedSeat

    opened, topology = _topology_in(etcd, world)
    return LeasedSeat(opened, topology, world, ShardId(config.id), config.replica, etcd.lease_seconds)


def _topology_in(config: EtcdConfig, world: World) -> "tuple[Etcd, EtcdTopology]":
    from sherd.cluster.etcd.opening import open_etcd
    from sherd.cluster.etcd.topology import EtcdTopology

    etcd = open_etcd(config)
    return etcd, EtcdTopology(etcd, config.prefix, world.random)


def _supervised(serve: Callable[[], int], values: Mapping[str, str | None], section: str) -> int:
    """Serve, and when that is refused tell the supervisor why, if there is one."""
    ready_fd = _copy_of_ready_fd(values.get(f"{section}__ready_fd"))
    try:
        return serve()
    except (SherdError, OSError) as error:
        refusal = error
    except ExceptionGroup as group:  # tasks that belong together end together
        refusal = _sole_cause(group)
    click.echo(f"sherd: {describe(refusal)}", err=True)
    if ready_fd is not None:
        announce_refusal(ready_fd, describe(refusal))
    return _exit_code(refusal)


def _sole_cause(group: ExceptionGroup[Exception]) -> SherdError | OSError:
    """The one error that ended a group of tasks; the group itself is raised if there is another, or it is a bug."""
    match group.exceptions:
        case [ExceptionGroup() as inner]:
            return _sole_cause(inner)
        case [SherdError() | OSError() as error]:
            return error
    raise group


def _copy_of_ready_fd(text: str | None) -> int | None:
    """A descriptor of our own for the supervisor's pipe: the process closes the one it was given when it serves."""
    if text is None:
        return None
    try:
        return os.dup(int(text))
    except (ValueError, OSError) as error:
        raise ConfigError(f"--ready-fd {text} is no open descriptor") from error


def _exit_code(error: SherdError | OSError) -> ExitCode:
    if isinstance(error, SherdError):
        return exit_code_of(error)
    taken = error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
    return ExitCode.ADDRESS_TAKEN if taken else ExitCode.SERVER_ERROR
