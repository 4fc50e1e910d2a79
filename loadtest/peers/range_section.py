"""What only Sherd has among the servers here: ordered ranges over hash shards, and requests of many keys."""

from functools import partial

from peers.alternation import alternate
from peers.generator import Load, measure
from peers.rows import Results, Sample
from peers.server import Server
from peers.settings import Settings
from peers.sherd_server import SherdServer
from peers.standing import fill, standing

VALUE_BYTES = 100
SCAN_ROWS = 1000
BATCH_KEYS = 100
SCANNERS = 8
BATCH_CONNECTIONS = 50


def range_section(settings: Settings, results: Results) -> None:
    """Scans of tables; then many keys a request."""
    seconds, keys = settings.seconds, settings.keys
    scan = partial(Load, "scan", seconds=seconds, keys=keys, value_bytes=VALUE_BYTES, scan_rows=SCAN_ROWS)
    many = partial(
        Load, connections=BATCH_CONNECTIONS, seconds=seconds, keys=keys, value_bytes=VALUE_BYTES, batch_keys=BATCH_KEYS
    )
    plan = (
        ("scan of 1,000 rows, p50", "us", scan(connections=1), "p50_us"),
        ("scan of 1,000 rows, 8 connections", "rows/s", scan(connections=SCANNERS), "rows_per_second"),
        ("full scan through the proxy", "rows/s", Load("fullscan", connections=1, keys=keys), "rows_per_second"),
        ("mget of 100", "keys/s", many("mget"), "keys_per_second"),
        ("batch of 100", "keys/s", many("batch"), "keys_per_second"),
    )
    with standing(settings, results, [SherdServer()], "ranges") as serving:
        fill(serving, keys, VALUE_BYTES)
        for name, unit, load, figure in plan:
            row = results.open_row("ranges", name, unit, "lower" if unit == "us" else "higher")
            alternate(row, settings.rounds, serving, partial(_turn, load=load, figure=figure))


def _turn(server: Server, load: Load, figure: str) -> Sample:
    sample = measure(server, load, figure)
    server.calm_down()
    return sample
