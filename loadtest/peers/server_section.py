"""Sets and gets through servers: pipelines, value sizes, one in flight, fsync always, offered load."""

from functools import partial

from peers.alternation import alternate, in_turns, tell
from peers.forwarder_server import ForwarderServer
from peers.generator import Load, measure
from peers.not_driven import NOT_COMPARED
from peers.redis_servers import NutcrackerServer, RedisAlwaysServer, RedisServer
from peers.rows import Results, Sample
from peers.server import Server
from peers.settings import Settings
from peers.sherd_server import SherdServer
from peers.standing import Standing, fill, standing
from peers.tarantool_server import TarantoolFsyncServer, TarantoolServer
from peers.targets import request_row

CONNECTIONS = 50
PIPELINES = (1, 16, 64)
SMALL, LARGE = 100, 1024
MEMTABLES_BYTES = 4 * (64 << 20)
ENTRY_BYTES = 16 + 250  # of a set beside its value, in a memtable or its log


def everyday_servers() -> list[Server]:
    """Stores that sync within a second, Tarantool that leaves it to the kernel, and a limit that stores nothing."""
    return [SherdServer(), NutcrackerServer(), RedisServer(), TarantoolServer(), ForwarderServer()]


def server_section(settings: Settings, results: Results) -> None:
    """Gets come first, from what was loaded and compacted; sets change nothing about keys or sizes."""
    results.absent.update(NOT_COMPARED)
    for value_bytes, keys in ((SMALL, settings.keys), (LARGE, settings.large_keys)):
        with standing(settings, results, everyday_servers(), f"servers-{value_bytes}") as serving:
            fill(serving, keys, value_bytes)
            for workload in ("get", "set"):
                for pipeline in PIPELINES:
                    requests = before_first_flush(value_bytes) if workload == "set" else None
                    load = Load(
                        workload,
                        CONNECTIONS,
                        pipeline,
                        settings.seconds,
                        requests=requests,
                        keys=keys,
                        value_bytes=value_bytes,
                    )
                    _throughput_row(settings, results, serving, load)
                if value_bytes == SMALL:
                    _one_in_flight(
                        settings, results, serving, Load(workload, 1, 1, settings.seconds, keys=keys, value_bytes=SMALL)
                    )
            if value_bytes == SMALL and settings.steady_seconds:
                _steady_row(settings, results, serving, keys)
    results.remarks.append(
        f"Servers: {settings.keys:,} keys of 16 bytes ({settings.large_keys:,} with 1 KiB values), uniform, "
        f"{settings.seconds:g} s a measurement, Sherd with 4 shards, fsync interval:1s; gets are of loaded, flushed "
        "and compacted tables with a warm page cache; sets of Sherd and Tarantool begin with empty memtables, and end "
        "after as many as Sherd's memtables take (the steady row goes on)."
    )


def before_first_flush(value_bytes: int) -> int:
    """Sets after which Sherd's memtables, and the log segments of their size, are nearly full."""
    return MEMTABLES_BYTES * 9 // 10 // (value_bytes + ENTRY_BYTES)


def _throughput_row(settings: Settings, results: Results, serving: Standing, load: Load) -> None:
    name = request_row(load.workload, load.value_bytes or 0, load.connections, load.pipeline)
    series = f"{load.workload} {load.value_bytes}"
    row = results.open_row("servers", name, "requests/s", "higher", series, load.pipeline)
    alternate(row, settings.rounds, serving, partial(_turn, load=load))


def _one_in_flight(settings: Settings, results: Results, serving: Standing, load: Load) -> None:
    row = results.open_row("servers", f"{load.workload} p50, 1 x 1", "us", "lower")
    alternate(row, settings.rounds, serving, partial(_turn, load=load, figure="p50_us"))


def _steady_row(settings: Settings, results: Results, serving: Standing, keys: int) -> None:
    load = Load("set", CONNECTIONS, 16, settings.steady_seconds, keys=keys, value_bytes=SMALL)
    row = results.open_row("servers", f"set {SMALL} B, {CONNECTIONS} x 16, steady", "requests/s")
    alternate(row, 1, serving, partial(_turn, load=load))


def _turn(server: Server, load: Load, figure: str = "per_second") -> Sample:
    """One measurement of a server that is at rest before and after, so that others' turns are undisturbed."""
    if load.workload == "set":
        server.empty_memtables()
        server.calm_down()
    sample = measure(server, load, figure)
    server.calm_down()
    return sample


def always_section(settings: Settings, results: Results) -> None:
    """Sets that are on stable storage when they are answered."""
    servers = [SherdServer("always"), RedisAlwaysServer(), TarantoolFsyncServer()]
    with standing(settings, results, servers, "always") as serving:
        for pipeline in (1, 16):
            row = results.open_row("always", request_row("set always", SMALL, CONNECTIONS, pipeline), "requests/s")
            requests = before_first_flush(SMALL)
            load = Load(
                "set", CONNECTIONS, pipeline, settings.seconds, requests=requests, keys=settings.keys, value_bytes=SMALL
            )
            alternate(row, settings.rounds, serving, partial(_turn, load=load))


def latency_section(settings: Settings, results: Results) -> None:
    """Latency under an offered load that does not wait for answers, up to where a server falls behind."""
    servers = [SherdServer(), NutcrackerServer(), RedisServer()]
    with standing(settings, results, servers, "latency") as serving:
        fill(serving, settings.keys, SMALL)
        for rate in settings.offered_rates:
            load = Load("get", CONNECTIONS, 1, settings.seconds, rate=rate, keys=settings.keys, value_bytes=SMALL)
            _latency_rows(settings, results, serving, load)


def _latency_rows(settings: Settings, results: Results, serving: Standing, load: Load) -> None:
    """One run gives a sample to each quantile's row."""
    rows = {
        quantile: results.open_row(
            "latency", f"get {quantile} at {load.rate:,}/s offered", "us", "lower", quantile, float(load.rate or 0)
        )
        for quantile in ("p50", "p99", "p999")
    }
    for name, server in in_turns(settings.rounds, serving):
        sample = measure(server, load)
        for quantile, row in rows.items():
            costs = sample.cpu_us if quantile == "p50" else {}  # once is enough
            row.add(name, Sample(float(sample.detail[f"{quantile}_us"]), costs, sample.detail))
    tell(rows.values())
