"""``sherd bench``: load a running cluster and report throughput and latency."""

import json
import os

import click

from sherd.cli.bench.generator import GET, MIXED, SET, Generator, Source
from sherd.cli.bench.scanning import count_by_scanning
from sherd.common.net.address import Address, parse_address

LOAD_PIPELINE = 1000
KINDS = {"set": SET, "get": GET, "mixed": MIXED}


@click.command("bench")
@click.option("--connect", envvar="SHERD_CONNECT", default="127.0.0.1:7700", show_default=True, help="HOST:PORT[,...]")
@click.option(
    "--workload",
    type=click.Choice(["load", "set", "get", "mixed", "scan"]),
    default="set",
    show_default=True,
    help="load puts every key once; mixed is half set, half get; scan reads everything through one client",
)
@click.option("--connections", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--pipeline", type=click.IntRange(1, 60_000), default=1, show_default=True, help="in flight a connection")
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), default=10.0, show_default=True)
@click.option("--keys", type=click.IntRange(1, 10**12), default=1_000_000, show_default=True, help="distinct keys")
@click.option("--value-bytes", type=click.IntRange(0, 8 << 20), default=100, show_default=True)
@click.option("--page-bytes", type=click.IntRange(1, 4 << 20), default=4 << 20, show_default=True, help="of scan")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="one JSON object in place of the table")
def bench_command(
    connect: str,
    workload: str,
    connections: int,
    pipeline: int,
    seconds: float,
    keys: int,
    value_bytes: int,
    page_bytes: int,
    seed: int,
    as_json: bool,
) -> None:
    """Drive a cluster with a closed-loop load and report what it did. Keys are 16 bytes, values incompressible."""
    addresses = [parse_address(text) for text in connect.split(",")]
    if workload == "scan":
        report = count_by_scanning(addresses[0], page_bytes)
    elif workload == "load":
        report = load(addresses[0], keys, value_bytes, seed)
    else:
        source = Source(KINDS[workload], keys, value_bytes, seed)
        generator = Generator(addresses, connections, pipeline, source, value_bytes)
        try:
            report = generator.run(seconds, 2**62)
        finally:
            generator.close()
    report = {"workload": workload, "connections": connections, "pipeline": pipeline, **report, "pid": os.getpid()}
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, value in report.items():
        if name != "first_error" or value:
            click.echo(
                f"{name.removesuffix('_us'):<14} {value:,} us" if name.endswith("_us") else f"{name:<14} {value}"
            )


def load(address: Address, keys: int, value_bytes: int, seed: int) -> dict[str, object]:
    """Put keys 0 to ``keys`` - 1 in order, with 8 connections and deep pipelines; every reply is checked."""
    source = Source(SET, keys, value_bytes, seed)
    source.count_up()
    generator = Generator([address], 8, LOAD_PIPELINE, source, value_bytes)
    try:
        return generator.run(86_400, keys)
    finally:
        generator.close()
