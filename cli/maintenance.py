"""``sherd flush`` and ``compact``: forced background work on every shard, with a report."""

import json
import time
from typing import Any

import click

from sherd.cli.target import open_target, target_options
from sherd.common.exit_codes import ExitCode


@click.command("flush")
@target_options
def flush_command(connect: str, data: str | None) -> int:
    """Write every shard's memtable to a table, wait for it, report."""
    return _force("flush", connect, data)


@click.command("compact")
@target_options
def compact_command(connect: str, data: str | None) -> int:
    """Compact every shard down to its bottom level, wait for it, report."""
    return _force("compact", connect, data)


def _force(what: str, connect: str, data: str | None) -> int:
    start = time.monotonic()
    with open_target(connect, data, writing=True) as target:
        report = target.flush() if what == "flush" else target.compact()
    for line in report_lines(report):
        click.echo(line)
    click.echo(f"{what} done in {time.monotonic() - start:.1f} s")
    return ExitCode.OK


def report_lines(report: Any) -> list[str]:
    """A line for each shard of what the cluster, or one store, says it has done."""
    if not isinstance(report, dict):
        return []
    if "shards" not in report:
        return [_fields(report)] if report else []
    return [f"shard {shard['id']}: {_fields(shard['report'])}" for shard in report["shards"]]


def _fields(report: Any) -> str:
    if not isinstance(report, dict):
        return json.dumps(report)
    return " ".join(f"{name}={json.dumps(value)}" for name, value in report.items())
