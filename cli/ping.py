"""``sherd ping``: whether one process answers, for health checks."""

import asyncio
import os

import click

from sherd.cli.failure import report_failure
from sherd.cli.target import connect_option
from sherd.common.errors import WireError
from sherd.common.exit_codes import ExitCode
from sherd.common.net.address import parse_addresses
from sherd.common.net.network import SystemNetwork
from sherd.common.net.stream import ask_once


@click.command("ping")
@connect_option
@click.option(
    "--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True,
    help="How long it may take to answer.",
)  # fmt: skip
def ping_command(connect: str, timeout: float) -> int:
    """Ask one process - proxy, shard or coordinator - whether it serves: exit 0 if it answers, 3 if it does not.

    The answer is about that process alone: a proxy answers also while a shard has no leader, a shard also while it
    follows, a coordinator also while it stands by. Of several addresses the first is asked.
    """
    address = parse_addresses(connect)[0]
    try:
        asyncio.run(ask_once(SystemNetwork(), str(address), "ping", [], timeout))
    except WireError as error:  # it answers, to say that it stops
        report_failure(error)
    except TimeoutError:
        click.echo(f"sherd: {address} has not answered in {timeout:g} s", err=True)
    except OSError as error:
        click.echo(f"sherd: {address} does not answer: {os.strerror(error.errno) if error.errno else error}", err=True)
    else:
        return ExitCode.OK
    return ExitCode.UNREACHABLE
