"""``sherd repair``: whether followers hold what their leaders do, and having those made anew that do not."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click
from tqdm import tqdm

from sherd.cli.failure import describe
from sherd.cli.target import connect_option
from sherd.client.sync import Client
from sherd.cluster.repair import Ask, Repair, Verdict
from sherd.common.clock import SystemClock
from sherd.common.errors import BadRequest, SherdError
from sherd.common.exit_codes import ExitCode
from sherd.common.topology.state import Topology
from sherd.common.types import ShardId


@click.command("repair")
@click.argument("shards", metavar="[SHARD]...", nargs=-1, type=click.IntRange(min=1))
@click.option("--check", is_flag=True, help="Only compare.")
@click.option("--json", "as_json", is_flag=True, help="The verdicts as JSON.")
@connect_option
def repair_command(shards: tuple[int, ...], check: bool, as_json: bool, connect: str) -> int:
    """Compare followers with their leaders, and have those that differ begin anew with a copy.

    All shards, or those that are named. Each follower is compared at one LSN, while the cluster serves. What a follower
    held that differs is kept in its quarantine/. Exit code 4 unless all are equal at the end.
    """
    with Client(connect, retry=False) as client, _Progress() as progress:
        repair = Repair(asker(client), lambda: topology_of(client), SystemClock(), progress.tell)
        known = topology_of(client).shards
        unknown = [shard for shard in shards if ShardId(shard) not in known]
        if unknown:
            raise BadRequest(f"there is no shard {unknown[0]}")
        verdicts: list[Verdict] = []
        for shard in sorted(ShardId(shard) for shard in shards or known):
            try:
                found = repair.compare(shard) if check else repair.mend(shard)
            except SherdError as error:
                found = [Verdict(shard, name, error=describe(error)) for name in known[shard].followers]
            verdicts += found
            if not as_json:
                for line in [verdict_line(verdict) for verdict in found] or [f"shard {shard}: has no followers"]:
                    progress.say(line)
    if as_json:
        click.echo(json.dumps([{**asdict(verdict), "equal": verdict.equal} for verdict in verdicts], indent=2))
    return ExitCode.OK if all(verdict.equal for verdict in verdicts) else ExitCode.SERVER_ERROR


def asker(client: Client) -> Ask:
    """Asks single replicas, by way of a proxy."""

    def ask(shard: int, replica: str, method: str, params: list[Any]) -> Any:
        return client.administer("ask_replica", shard, replica, method, params)

    return ask


def topology_of(client: Client) -> Topology:
    """The topology that a proxy tells."""
    return Topology.from_json(client.topology())


def verdict_line(verdict: Verdict) -> str:
    """A verdict for people."""
    name = f"shard {verdict.shard} follower {verdict.follower}"
    if verdict.rebuilt:
        name += ": rebuilt"
    if verdict.error:
        return f"{name}: {'damaged' if verdict.damaged else 'not compared'}: {verdict.error}"
    if verdict.differing:
        return f"{name}: differs in {len(verdict.differing)} of {verdict.ranges} ranges"
    return f"{name}: equal, {verdict.entries} entries in {verdict.ranges} ranges at LSN {verdict.lsn}"


class _Progress:
    """A counter of entries on a terminal; lines go past it."""

    def __init__(self) -> None:
        self._bar = tqdm(unit=" entries", unit_scale=True, disable=not sys.stderr.isatty())
        self._at: dict[tuple[int, str], int] = {}

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def tell(self, shard: int, replica: str, entries: int) -> None:
        before = self._at.get((shard, replica), 0)
        self._at[shard, replica] = entries
        self._bar.set_description(f"shard {shard} replica {replica}")
        self._bar.update(max(0, entries - before))

    def say(self, line: str) -> None:
        self._bar.clear()
        click.echo(line)
