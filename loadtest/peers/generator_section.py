"""Whether the load generator is a limit: beside redis-benchmark, which is in C, on one Redis without persistence."""

import csv
import shutil
import subprocess

from peers.alternation import in_turns, tell
from peers.generator import Load, drive
from peers.redis_servers import RedisServer
from peers.rows import Results, Sample
from peers.server import Server
from peers.settings import Settings
from peers.standing import fill, standing

OURS, THEIRS = "sherd bench", "redis-benchmark"
CONNECTIONS, PIPELINES, VALUE_BYTES = 50, (1, 16), 100
KEYS = 100_000
SECONDS_MAX = 600


class BareRedisServer(RedisServer):
    """Nothing but the network and the table of keys."""

    appendonly = "no"


def generator_section(settings: Settings, results: Results) -> None:
    """Both send as many requests of the same sizes to as many keys."""
    if shutil.which(THEIRS) is None:
        results.absent[THEIRS] = "not installed"
    with standing(settings, results, [BareRedisServer()], "generator") as serving:
        for _, server in serving if shutil.which(THEIRS) else ():
            fill(serving, KEYS, VALUE_BYTES)
            _redis_benchmark(server, "set", 16, 4 * KEYS)  # its keys are named otherwise than ours
            for workload in ("set", "get"):
                for pipeline in PIPELINES:
                    _compare(settings, results, server, workload, pipeline)


def _compare(settings: Settings, results: Results, server: Server, workload: str, pipeline: int) -> None:
    title = f"{workload} on Redis without persistence, {CONNECTIONS} x {pipeline}"
    row = results.open_row("generator", title, "requests/s")
    for name in in_turns(settings.rounds, (OURS, THEIRS)):
        load = Load(workload, CONNECTIONS, pipeline, settings.seconds, keys=KEYS, value_bytes=VALUE_BYTES)
        if name == OURS:
            report = drive(server, load)
            requests = int(report["requests"])
            row.add(name, Sample(float(report["per_second"])))
        else:
            row.add(name, Sample(_redis_benchmark(server, workload, pipeline, requests)))
    tell([row])


def _redis_benchmark(server: Server, workload: str, pipeline: int, requests: int) -> float:
    """Requests a second by its own account."""
    port = server.address.rpartition(":")[2]
    command = [THEIRS, "-p", port, "-c", str(CONNECTIONS), "-P", str(pipeline), "-n", str(requests)]
    command += ["-d", str(VALUE_BYTES), "-r", str(KEYS), "-t", workload, "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=True)
    return parse_csv(done.stdout)


def parse_csv(text: str) -> float:
    """The figure of the one test that was asked for."""
    (line,) = csv.DictReader(text.splitlines())
    return float(line["rps"])
