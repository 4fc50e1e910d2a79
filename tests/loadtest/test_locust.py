"""The locust scenarios against real clusters: they run clean, fail when they must, and kill only what is theirs."""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sherd.testing import Cluster

LOADTEST = Path(__file__).parents[2] / "loadtest"
USERS = 10
SECONDS = 7

OPERATIONS = {
    "SessionStore": {("batch", "session: log in"), ("get", "session: read"), ("put", "session: renew")},
    "EventLog": {("put", "log: append"), ("scan", "log: last 20"), ("scan", "log: page of an hour")},
    "BulkIngest": {
        ("batch", "ingest: load"),
        ("mget", "ingest: spot check"),
        ("count", "ingest: count a batch"),
        ("mget", "ingest: read back"),
    },
    "MixedWithFaults": {
        ("put", "mixed"),
        ("put", "mixed: if_version"),
        ("get", "mixed"),
        ("delete", "mixed"),
        ("mget", "mixed"),
        ("mget", "mixed: read back"),
        ("fault", "a shard killed, until it serves again"),
    },
}
FLAGS = {"MixedWithFaults": ("--kill-every=1.5",)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=3) as running:
        yield running


def locust(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A headless run, in a process of its own because locust patches all of it for gevent."""
    command = [
        sys.executable, "-m", "locust", "-f", str(LOADTEST / "locustfile.py"), "--host", address, "--headless",
        "--only-summary", f"--users={USERS}", f"--spawn-rate={USERS}", *arguments,
    ]  # fmt: skip
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "SHERD_LOADTEST"))}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, stdin=subprocess.DEVNULL)


def as_table(stats: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(entry["method"], entry["name"]): entry for entry in stats}


@pytest.mark.parametrize("scenario", OPERATIONS)
def test_a_scenario_runs_clean(cluster: Cluster, tmp_path: Path, scenario: str) -> None:
    flags = FLAGS.get(scenario, ())
    done = locust(cluster.address, f"--run-time={SECONDS}s", "--json-file", str(tmp_path / "stats"), *flags, scenario)
    assert done.returncode == 0, done.stdout + done.stderr
    stats = as_table(json.loads((tmp_path / "stats.json").read_text()))
    assert OPERATIONS[scenario] <= {key for key in stats if key[0] != "expected"}
    assert all(entry["num_failures"] == 0 for entry in stats.values())
    assert all(entry["num_requests"] > 0 for entry in stats.values())
    if scenario == "SessionStore":
        reads, writes = stats["get", "session: read"], stats["put", "session: renew"]
        assert 5 < reads["num_requests"] / writes["num_requests"] < 16
        assert reads["total_content_length"] > 100 * writes["num_requests"]
    if scenario == "MixedWithFaults":
        assert stats["fault", "a shard killed, until it serves again"]["num_requests"] >= 2
        with cluster.client() as db:
            assert sum(shard["term"] - 1 for shard in db.status()["shards"]) >= 2


def overwrite(cluster: Cluster, prefix: str, ended: threading.Event) -> None:
    """Put something else in place of values, again and again."""
    with cluster.client() as db:
        while not ended.wait(0.05):
            keys = list(db.scan(prefix=prefix, keys_only=True, limit=2_000))
            for key in random.sample(keys, min(200, len(keys))):
                db.put(key, "corrupted")


@pytest.mark.parametrize(
    ("scenario", "prefix"), [("SessionStore", "session:"), ("MixedWithFaults", "mixed:"), ("EventLog", "log:")]
)
def test_values_changed_behind_its_back_are_found(cluster: Cluster, scenario: str, prefix: str) -> None:
    ended = threading.Event()
    other = threading.Thread(target=overwrite, args=(cluster, prefix, ended))
    other.start()
    try:
        done = locust(cluster.address, "--run-time=3s", scenario)
    finally:
        ended.set()
        other.join()
    assert done.returncode == 1, done.stdout + done.stderr
    assert f'BrokenAnswer("{prefix}' in done.stderr, done.stdout + done.stderr
    assert "'corrupted' is no value that was ever written there" in done.stderr


def test_killing_is_refused_where_the_cluster_may_be_anothers(cluster: Cluster) -> None:
    for host, said in (("192.0.2.1:7700", "loopback"), ("localhost:7700", "loopback")):
        done = locust(host, "--run-time=1s", "--kill-every=1", "MixedWithFaults")
        assert done.returncode == 1
        assert said in done.stderr, done.stderr
    done = locust(cluster.address, "--run-time=1s", "--kill-every=1", "--master", "MixedWithFaults")
    assert done.returncode != 0
    assert "one locust process" in done.stderr, done.stderr


def test_errors_outside_a_fault_are_failures() -> None:
    with Cluster(shards=1) as cluster:
        address = cluster.address
    done = locust(address, "--run-time=5s", "BulkIngest")
    assert done.returncode == 1
    assert "Unavailable(" in done.stderr, done.stdout + done.stderr
