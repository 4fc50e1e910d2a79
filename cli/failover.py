"""``sherd failover``: a planned change of a shard's leader."""

import time

import click

from sherd.cli.target import connect_option
from sherd.client.sync import Client
from sherd.common.exit_codes import ExitCode


@click.command("failover")
@click.argument("shard", type=click.IntRange(min=1))
@click.option("--to", metavar="REPLICA", help="Who is to lead. [default: the follower in sync with the longest log]")
@click.option("--force", is_flag=True, help="When those in sync are gone for good: what REPLICA lacks is lost.")
@connect_option
def failover_command(shard: int, to: str | None, force: bool, connect: str) -> int:
    """Have another replica lead SHARD: for maintenance of the one that does.

    Requests for the shard wait for a moment; none is lost and none fails. The former leader follows.
    """
    if force and to is None:
        raise click.UsageError("--force takes --to: you have to say whose data is to be kept")
    start = time.monotonic()
    # Once: what could not be done now should not be done later, when nobody expects it any more.
    with Client(connect, retry=False) as client:
        done = client.administer("failover", shard, to, force)
    click.echo(
        f"replica {done['leader']} leads shard {done['shard']} in term {done['term']}, "
        f"after {time.monotonic() - start:.2f} s"
    )
    return ExitCode.OK
