"""``sherd bench``: load a running cluster, a Redis or a Tarantool, and report throughput, latency and wrong answers."""

import json
from pathlib import Path
from typing import Any

import click

from sherd.cli.bench.full_scan import run_full_scan
from sherd.cli.bench.hdr_text import hdr_text
from sherd.cli.bench.key_choice import DISTRIBUTIONS
from sherd.cli.bench.plan import KEYS_MAX, ORDERS, PROTOCOLS, SPACE_DEFAULT, SPACE_MAX, WORKLOADS, Plan
from sherd.cli.bench.progress import Progress
from sherd.cli.bench.report import report_of, table
from sherd.cli.bench.running import run
from sherd.common.exit_codes import ExitCode
from sherd.common.limits import KEYS_PER_REQUEST_MAX
from sherd.common.net.address import parse_addresses

WORKLOAD_HELP = (
    "load puts every key once; mixed is gets and puts; scan reads --scan-rows rows from a random key; fullscan reads "
    "everything through one client that only counts; a to f are YCSB's"
)
PROTOCOL_HELP = "resp is Redis's, iproto Tarantool's"
SECONDS_MAX = 7 * 86_400


@click.command("bench")
@click.option(
    "--connect",
    envvar="SHERD_CONNECT",
    default="127.0.0.1:7700",
    show_default=True,
    metavar="ADDRESS",
    help="HOST:PORT[,...] or unix:PATH; connections take several in turn",
)
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="msgpack", show_default=True, help=PROTOCOL_HELP)
@click.option("--workload", type=click.Choice(WORKLOADS), default="set", show_default=True, help=WORKLOAD_HELP)
@click.option("--order", type=click.Choice(ORDERS), default="random", show_default=True, help="of load")
@click.option("--connections", type=click.IntRange(1, 10_000), help="[default: 50; of load 8]")
@click.option(
    "--pipeline", type=click.IntRange(1, 10_000), help="requests in flight a connection  [default: 1; of load 1000]"
)
@click.option("--rate", type=click.FloatRange(0.1, 1e9), help="requests/s in all, at fixed times  [default: no limit]")
@click.option("--seconds", type=click.FloatRange(0.1, SECONDS_MAX), default=10.0, show_default=True)
@click.option("--warmup", type=click.FloatRange(0, SECONDS_MAX), default=1.0, show_default=True, help="seconds before")
@click.option("--requests", type=click.IntRange(1), help="stop after so many, if not after --seconds")
@click.option("--keys", type=click.IntRange(1, KEYS_MAX), default=1_000_000, show_default=True, help="distinct keys")
@click.option("--distribution", type=click.Choice(DISTRIBUTIONS), help="of keys  [default: uniform; of a to f YCSB's]")
@click.option("--value-bytes", default="100", show_default=True, help="N, uniform:A-B or lognormal:MEDIAN:SIGMA")
@click.option(
    "--batch-keys", type=click.IntRange(1, KEYS_PER_REQUEST_MAX), default=100, show_default=True, help="of mget, batch"
)
@click.option("--scan-rows", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="of scan")
@click.option("--read-share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="of mixed")
@click.option(
    "--space", type=click.IntRange(0, SPACE_MAX), default=SPACE_DEFAULT, show_default=True, help="of iproto: its number"
)
@click.option("--seed", type=int, default=1, show_default=True, help="the same seed draws the same requests")
@click.option("--json", "as_json", is_flag=True, help="one JSON object in place of the table")
@click.option(
    "--hdr", type=click.Path(dir_okay=False, writable=True), help="write the latencies for HdrHistogram's plotter"
)
def bench_command(connect: str, as_json: bool, hdr: str | None, **options: Any) -> int:
    """Drive a load and report what it did. Keys are 16 digits, values incompressible; every answer is checked.

    Exits with 4, after the report, if answers were errors or wrong.
    """
    plan = Plan(parse_addresses(connect), **options)
    drive = run_full_scan if plan.workload == "fullscan" else run
    with Progress(plan.warmup + plan.seconds, plan.requests_max if plan.is_load else plan.requests) as progress:
        tally, seconds, busy_seconds = drive(plan, progress)
    report = report_of(plan, tally, seconds, busy_seconds)
    click.echo(json.dumps(report) if as_json else table(report))
    if hdr is not None:
        Path(hdr).write_text(hdr_text(tally.histogram))
    return ExitCode.SERVER_ERROR if tally.errors else ExitCode.OK
