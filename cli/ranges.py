"""``sherd scan`` and ``count``: a range of keys."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from sherd.cli.entries import Range, bound_argument
from sherd.cli.json_lines import encode_line
from sherd.cli.opening import source_of
from sherd.cli.target import cluster_only, open_target, stale_option, target_options
from sherd.common.exit_codes import ExitCode

F = TypeVar("F", bound=Callable[..., Any])


def range_arguments(command: F) -> F:
    """``[START] [END] [--prefix P]``."""
    prefix = click.option("--prefix", metavar="P", help="Only keys that start with P.")
    start = click.argument("start", required=False)
    end = click.argument("end", required=False)
    return start(end(prefix(command)))


@click.command("scan")
@range_arguments
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--reverse", is_flag=True, help="Last key first; the bounds stay as they are.")
@click.option("--keys-only", is_flag=True, help="Print a key a line, as it is.")
@target_options
def scan_command(
    start: str | None,
    end: str | None,
    prefix: str | None,
    limit: int | None,
    reverse: bool,
    keys_only: bool,
    connect: str,
    data: str | None,
) -> int:
    """Print the entries from START (included) to END (excluded) in key order, as JSON Lines."""
    range_ = Range(bound_argument(start), bound_argument(end), bound_argument(prefix), reverse, limit)
    if keys_only:
        with open_target(connect, data) as target:
            for key in target.scan(
                range_.start, range_.end, prefix=range_.prefix, reverse=reverse, limit=limit, keys_only=True
            ):
                sys.stdout.buffer.write(key + b"\n")
    else:
        with source_of(connect, data) as source:
            for row in source.rows(range_):
                sys.stdout.buffer.write(encode_line(row).encode() + b"\n")
    sys.stdout.buffer.flush()
    return ExitCode.OK


@click.command("count")
@range_arguments
@stale_option
@target_options
def count_command(
    start: str | None, end: str | None, prefix: str | None, stale_ms: int | None, connect: str, data: str | None
) -> int:
    """Print how many keys there are from START (included) to END (excluded)."""
    options = cluster_only(data, stale_ms=stale_ms)
    low, high, wanted = bound_argument(start), bound_argument(end), bound_argument(prefix)
    with open_target(connect, data) as target:
        click.echo(target.count(low, high, prefix=wanted, **options))
    return ExitCode.OK
