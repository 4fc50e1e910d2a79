"""``sherd shard`` and ``sherd proxy``: one process each, as the supervisor starts them, or on its own."""

import errno
import os
from collections.abc import Callable, Mapping

import click

from sherd.cli.failure import describe
from sherd.cli.settings import setting_options, sources_of
from sherd.common.errors import ConfigError, SherdError
from sherd.common.exit_codes import ExitCode, exit_code_of
from sherd.common.limits import Limits
from sherd.common.logs import configure_logs
from sherd.common.ready import announce_refusal
from sherd.common.topology.state import FIRST_REPLICA
from sherd.common.topology.watched_file import WatchedTopology
from sherd.proxy.bounds import Bounds
from sherd.proxy.config import ProxyConfig
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.options import EngineOptions


@click.command("shard")
@setting_options("shard", "engine", "limits")
def shard_command(config_file: str | None, **values: str | None) -> int:
    """One shard process, with its own directory."""

    def serve() -> int:
        sources = sources_of(config_file, values)
        engine, limits = sources.load("engine", EngineOptions), sources.load("limits", Limits)
        config = sources.load("shard", ShardConfig, engine=engine, limits=limits)
        name = f"shard-{config.id}" if config.replica == FIRST_REPLICA else f"shard-{config.id}-{config.replica}"
        configure_logs(config.log_level, name)
        from sherd.shard.replication.seat import SupervisedSeat
        from sherd.shard.worker import run

        return run(config, lambda world: SupervisedSeat(WatchedTopology(world.disk, config.topology)))

    return _supervised(serve, values, "shard")


@click.command("proxy")
@setting_options("proxy", "limits", "bounds")
def proxy_command(config_file: str | None, **values: str | None) -> int:
    """One proxy process."""

    def serve() -> int:
        sources = sources_of(config_file, values)
        limits, bounds = sources.load("limits", Limits), sources.load("bounds", Bounds)
        config = sources.load("proxy", ProxyConfig, limits=limits, bounds=bounds)
        configure_logs(config.log_level, config.name)
        from sherd.proxy.main import run

        return run(config, lambda world: WatchedTopology(world.disk, config.topology))

    return _supervised(serve, values, "proxy")


def _supervised(serve: Callable[[], int], values: Mapping[str, str | None], section: str) -> int:
    """Serve, and when that is refused tell the supervisor why, if there is one."""
    ready_fd = _copy_of_ready_fd(values.get(f"{section}__ready_fd"))
    try:
        return serve()
    except (SherdError, OSError) as error:
        click.echo(f"sherd: {describe(error)}", err=True)
        if ready_fd is not None:
            announce_refusal(ready_fd, describe(error))
        return _exit_code(error)


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
