"""``sherd dump`` and ``verify``: what is in the files of a stopped shard, and whether it is whole."""

import json
import os
from typing import TYPE_CHECKING

import click

from sherd.common.disk import RealDisk
from sherd.common.errors import StoreFormat
from sherd.common.exit_codes import ExitCode
from sherd.common.topology.file import read_topology
from sherd.common.units import format_bytes

if TYPE_CHECKING:
    from sherd.shard.lsm.verify import VerifyReport


@click.command("dump")
@click.argument("file")
@click.option("--shown-bytes", type=click.IntRange(min=1), default=64, show_default=True, help="Cut longer keys off.")
def dump_command(file: str, shown_bytes: int) -> int:
    """Print a log segment, table or MANIFEST readably. It is only read."""
    from sherd.shard.lsm.dump import dump_lines

    for line in dump_lines(RealDisk(), file, shown_bytes=shown_bytes):
        click.echo(line)
    return ExitCode.OK


@click.command("verify")
@click.argument("directory", metavar="DIR")
@click.option("--repair", is_flag=True, help="Give up what is damaged, so that the rest is served; it is kept aside.")
@click.option("--json", "as_json", is_flag=True, help="The reports as JSON.")
def verify_command(directory: str, repair: bool, as_json: bool) -> int:
    """Check every checksum of a stopped shard or Store, or of all shards of a stopped cluster.

    Exit code 4 if anything is damaged. With --repair, what is damaged is moved to quarantine/ and reported: the data in
    it is lost to the store, so rather restore a backup if there is one.
    """
    from sherd.shard.lsm.verify import verify_directory

    reports = [verify_directory(path, RealDisk(), repair=repair) for path in _stores_in(directory)]
    if as_json:
        # Keys in it may be bytes.
        click.echo(json.dumps([report.to_dict() for report in reports], indent=2, default=repr))
    else:
        for report in reports:
            click.echo("\n".join(report_lines(report)))
    damaged = any(not report.ok and not report.repaired for report in reports)
    if damaged and not repair:
        click.echo("sherd: damage found; `sherd verify DIR --repair` gives it up and keeps the rest", err=True)
    return ExitCode.SERVER_ERROR if damaged else ExitCode.OK


def report_lines(report: "VerifyReport") -> list[str]:
    """A report for people."""
    tables = f"{report.tables} tables ({format_bytes(report.table_bytes)}, {report.entries} entries)"
    lines = [f"{report.directory}: {tables}, {report.segments} log segments ({report.records} records)"]
    for finding in report.findings:
        kind = "refuses to start" if finding.fatal else "damaged"
        lines.append(f"  {kind}: {finding.file}: {finding.message}{f'; {finding.done}' if finding.done else ''}")
    lines += [f"  note: {note}" for note in report.notes]
    if report.quarantined:
        lines.append(f"  in quarantine: {', '.join(report.quarantined)}")
    lines.append("  ok" if report.ok else "  repaired" if report.repaired else "  NOT ok")
    return lines


def _stores_in(directory: str) -> list[str]:
    """The directory itself, or those of a cluster's shards; its topology is checked by reading it."""
    topology = os.path.join(directory, "topology.json")
    if not os.path.isdir(directory):
        raise StoreFormat(f"{directory} is no directory")
    if not os.path.exists(topology):
        return [directory]
    shards = read_topology(RealDisk(), topology).shards
    return [os.path.join(directory, f"shard-{shard}") for shard in sorted(shards)]
