"""``sherd up``: a whole cluster on this machine, in the foreground."""

import asyncio
import os
import sys

import click

from sherd.cli.settings import SECTIONS, setting_options, sources_of
from sherd.cluster.config import ClusterConfig
from sherd.cluster.supervisor import Programs, Supervisor
from sherd.common.build import is_compiled
from sherd.common.config import changed_flags, without_settings
from sherd.common.limits import Limits
from sherd.common.logs import configure_logs
from sherd.common.net.address import Address
from sherd.common.topology.state import Topology
from sherd.common.world import system_world
from sherd.proxy.bounds import Bounds
from sherd.shard.lsm.options import EngineOptions


@click.command("up")
@setting_options("cluster", "engine", "limits", "bounds")
def up_command(config_file: str | None, **values: str | None) -> int:
    """A whole cluster on this machine, in the foreground.

    Prints one line on stdout once it serves, then logs on stderr. Ctrl-C or SIGTERM stops it in order, a second one at
    once. Started again on the same directory it serves the same data.
    """
    sources = sources_of(config_file, values)
    config = sources.load("cluster", ClusterConfig)
    engine, limits = sources.load("engine", EngineOptions), sources.load("limits", Limits)
    bounds = sources.load("bounds", Bounds)
    configure_logs(config.log_level, "supervisor")
    program = [sys.executable, "-P", "-m", "sherd.cli.main"]
    common = [f"--log-level={config.log_level}", *changed_flags("limits", limits)]
    programs = Programs(
        shard=[*program, "shard", *common, *changed_flags("engine", engine)],
        proxy=[*program, "proxy", *common, *changed_flags("bounds", bounds)],
        environ=without_settings(os.environ, SECTIONS),
    )

    def announce(address: Address, topology: Topology) -> None:
        click.echo(ready_line(address, topology, engine.fsync))

    supervisor = Supervisor(config, programs, announce, system_world())
    code = asyncio.run(supervisor.run())
    for refusal in supervisor.refusals:
        click.echo(f"sherd: {refusal.name}: {refusal.reason}", err=True)
    return code


def ready_line(address: Address, topology: Topology, fsync: str) -> str:
    """What ``up`` prints when the cluster serves."""
    fields = {
        "listen": address,
        "http": "off",
        "shards": len(topology.shards),
        "followers": min(len(state.replicas) for state in topology.shards.values()) - 1,
        "partition": topology.layout.mode,
        "fsync": fsync,
        "compiled": "yes" if is_compiled() else "no",
    }
    return " ".join(["sherd ready", *(f"{name}={value}" for name, value in fields.items())])
