"""``sherd status``: the cluster for people, or with ``--json`` for programs."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from sherd.cli.target import connect_option
from sherd.client.sync import Client
from sherd.common.exit_codes import ExitCode
from sherd.common.net.address import UNIX_PREFIX
from sherd.common.units import format_bytes

WATCH_SECONDS = 2.0


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="The whole status as JSON; with --watch a line each time.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, with rates, until Ctrl-C.")
@connect_option
def status_command(as_json: bool, watch: bool, connect: str) -> int:
    """Show shards, positions, sizes, proxies, moves and warnings of a cluster."""
    before: Sample | None = None
    with Client(connect) as client:
        while True:
            sample = Sample(client.status(), time.monotonic())
            if as_json:
                click.echo(json.dumps(sample.status, indent=None if watch else 2))
            else:
                if watch:
                    click.clear()
                click.echo("\n".join(status_lines(sample, before)))
            if not watch:
                return ExitCode.OK
            before = sample
            time.sleep(WATCH_SECONDS)


class Sample:
    """A status and when it was taken, in monotonic seconds."""

    __slots__ = ("at", "status")

    def __init__(self, status: Mapping[str, Any], at: float) -> None:
        self.status = status
        self.at = at

    def shard(self, id_: int) -> Mapping[str, Any]:
        return next((shard for shard in self.status.get("shards", ()) if shard["id"] == id_), {})


def status_lines(sample: Sample, before: Sample | None = None) -> list[str]:
    """The table; with writes a second where an earlier sample is there to compare."""
    status = sample.status
    build = "compiled" if status.get("compiled") else "interpreted: slow"
    about = "  ".join(f"{name}={status.get(name)}" for name in ("partition", "layout", "fsync"))
    lines = [f"sherd {status.get('version')} ({build})  {about}", ""]
    header = ["shard", "term", "share", "keys", "size", "memtable", "tables", "w-amp", "written", "unsynced", "leader"]
    rows = [_shard_row(shard) for shard in status.get("shards", ())]
    if before is not None:
        header.insert(-1, "writes/s")
        for row, shard in zip(rows, status.get("shards", ()), strict=True):
            row.insert(-1, _rate(shard, before.shard(shard["id"]), sample.at - before.at))
    lines += _table(header, rows)
    followers = [_follower_row(shard, one) for shard in status.get("shards", ()) for one in shard.get("followers", ())]
    if followers:
        header = ["follower", "shard", "pid", "behind", "seconds", "bytes", "in sync"]
        lines += ["", *_table(header, followers)]
    lines += [
        "",
        *_table(["proxy", "address", "pid", "connections"], [_proxy_row(proxy) for proxy in status.get("proxies", ())]),
    ]
    for move in status.get("moves", ()):
        lines.append(f"move {json.dumps(move)}")
    lines += [f"warning: {warning}" for warning in status.get("warnings", ())]
    return lines


def _shard_row(shard: Mapping[str, Any]) -> list[str]:
    leader = shard.get("leader") or {}
    share = shard.get("share")
    written, synced = leader.get("written_lsn"), leader.get("synced_lsn")
    unsynced = written - synced if isinstance(written, int) and isinstance(synced, int) else None
    return [
        _text(shard.get("id")),
        _text(shard.get("term")),
        "-" if share is None else f"{share:.1%}",
        _text(shard.get("keys")),
        _size(shard.get("bytes")),
        _size(shard.get("memtable_bytes")),
        _text(shard.get("tables")),
        _text(shard.get("write_amplification")),
        _text(written),
        _text(unsynced),
        _leader(leader),
    ]


def _leader(leader: Mapping[str, Any]) -> str:
    """Which process leads: by pid on one host, by replica and address on many."""
    if not leader.get("pid"):
        return "none"
    address = str(leader.get("address"))
    if address.startswith(UNIX_PREFIX):
        return f"pid {leader['pid']}"
    return f"replica {leader.get('name')} at {address}"


def _follower_row(shard: Mapping[str, Any], follower: Mapping[str, Any]) -> list[str]:
    names = ("name", "pid", "lag_records", "lag_seconds")
    name, pid, records, seconds = (_text(follower.get(name)) for name in names)
    in_sync = "yes" if follower.get("in_sync") else "no"
    return [name, _text(shard.get("id")), pid, records, seconds, _size(follower.get("lag_bytes")), in_sync]


def _proxy_row(proxy: Mapping[str, Any]) -> list[str]:
    return [
        _text(proxy.get("name")),
        _text(proxy.get("address")),
        _text(proxy.get("pid")),
        _text(proxy.get("connections")),
    ]


def _rate(shard: Mapping[str, Any], earlier: Mapping[str, Any], seconds: float) -> str:
    now, then = (state.get("leader", {}).get("written_lsn") for state in (shard, earlier))
    same_term = shard.get("term") == earlier.get("term")
    if not isinstance(now, int) or not isinstance(then, int) or not same_term or seconds <= 0:
        return "-"
    return f"{(now - then) / seconds:.0f}"


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _size(value: object) -> str:
    return format_bytes(value) if isinstance(value, (int, float)) else "-"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns wide enough, numbers to the right; the last column to the left."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    last = len(header) - 1
    return [
        "  ".join(
            cell if column == last else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, *rows)
    ]
