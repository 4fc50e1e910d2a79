"""``sherd export``: a range as JSON Lines that ``sherd import`` reads, byte for byte."""

import sys

import click
from tqdm import tqdm

from sherd.cli.entries import Range, bound_argument
from sherd.cli.json_lines import encode_line
from sherd.cli.opening import source_of
from sherd.cli.ranges import range_arguments
from sherd.cli.target import open_target, target_options
from sherd.common.exit_codes import ExitCode


@click.command("export")
@range_arguments
@target_options
def export_command(start: str | None, end: str | None, prefix: str | None, connect: str, data: str | None) -> int:
    """Print every entry from START (included) to END (excluded), or all, as JSON Lines.

    Each page is read at one point in time; writes that go on meanwhile may or may not be in it. Versions and times to
    live are not exported.
    """
    range_ = Range(bound_argument(start), bound_argument(end), bound_argument(prefix))
    on_terminal = sys.stderr.isatty()
    total = None
    if on_terminal:
        with open_target(connect, data) as target:
            total = target.count(range_.start, range_.end, prefix=range_.prefix)
    written = 0
    with (
        source_of(connect, data) as source,
        tqdm(total=total, unit="entries", unit_scale=True, disable=not on_terminal) as progress,
    ):
        for row in source.rows(range_):
            sys.stdout.buffer.write(encode_line(row).encode() + b"\n")
            written += 1
            progress.update()
    sys.stdout.buffer.flush()
    click.echo(f"exported {written} entries", err=True)
    return ExitCode.OK
