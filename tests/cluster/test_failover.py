"""Failover on one host, over real processes: a killed leader costs no acknowledged write and hardly any time."""

import contextlib
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.equal_replicas import assert_replicas_equal

from sherd.cli.status import Sample, status_lines
from sherd.client.sync import Client
from sherd.common.errors import BadRequest, SherdError, Timeout, Unavailable
from sherd.testing import Cluster

KILLS = int(os.environ.get("SHERD_FAILOVERS", "20"))
PATIENCE_SECONDS = 30.0


def shards_of(db: Client) -> list[dict[str, Any]]:
    return db.status()["shards"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def all_in_sync(db: Client) -> bool:
    return all(follower["in_sync"] for shard in shards_of(db) for follower in shard["followers"])


class Writer:
    """Writes one key after the other from a thread, each with a rising number, and notes what was acknowledged."""

    def __init__(self, cluster: Cluster, keys: int) -> None:
        self._client = cluster.client(timeout=10.0)
        self._keys = [f"key{number}" for number in range(keys)]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acked: dict[str, int] = {}
        self.asked: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.timeouts = 0
        self.failure: Exception | None = None

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        number = 0
        try:
            while not self._stopped.is_set():
                number += 1
                key = self._keys[number % len(self._keys)]
                self.asked[key] = number
                try:
                    version = self._client.put(key, number)
                except Timeout:
                    self.timeouts += 1
                    continue
                assert version > self.versions.get(key, 0), "a version fell"
                self.acked[key] = number
                self.versions[key] = version
                assert self._client.get(key) >= number
        except (AssertionError, SherdError) as error:
            self.failure = error

    def check(self, db: Client) -> None:
        """Every key has what was acknowledged last, or what was asked for after that."""
        assert self.failure is None, self.failure
        for key, number in self.acked.items():
            found = db.get(key)
            assert number <= found <= self.asked[key], key


@pytest.mark.parametrize("acks", ["leader", "insync"])
@pytest.mark.timeout(600 if KILLS <= 20 else 36_000)
def test_a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost(tmp_path: Path, acks: str) -> None:
    choice = random.Random(7)
    seconds = []
    flags = ["--followers=1", f"--acks={acks}", "--restart-seconds-max=0.1"]  # each is killed far more often than that
    with (
        Cluster(shards=2, data=tmp_path / "data", flags=flags) as cluster,
        cluster.client(timeout=10.0) as db,
    ):
        until(lambda: all_in_sync(db))
        with Writer(cluster, 40) as writer:
            for _ in range(KILLS):
                shard = choice.choice(shards_of(db))
                pid, term = shard["leader"]["pid"], shard["term"]
                key = next(key for key in (f"probe{n}" for n in range(1000)) if owner(db, key) == shard["id"])
                began = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(Timeout):
                    db.put(key, 1)  # in flight at the kill it may time out, never fail otherwise
                assert db.get(key) in (1, None)
                seconds.append(time.monotonic() - began)
                until(lambda shard=shard, term=term: shards_of(db)[shard["id"] - 1]["term"] > term)
                until(lambda: all_in_sync(db))
            assert_replicas_equal(db)  # while writes go on
        writer.check(db)
        assert_replicas_equal(db)
    assert statistics.median(seconds) < 1.0, seconds


def test_a_follower_that_is_too_far_behind_copies_the_tables_and_can_lead_then(tmp_path: Path) -> None:
    flags = ["--followers=1", "--memtable-bytes=256KiB", "--retain-log-bytes=0"]
    with (
        Cluster(shards=1, data=tmp_path / "data", flags=flags) as cluster,
        cluster.client(timeout=20.0) as db,
    ):
        until(lambda: all_in_sync(db))
        (shard,) = shards_of(db)
        (follower,) = shard["followers"]
        os.kill(follower["pid"], signal.SIGSTOP)
        for number in range(4000):
            db.put(f"key{number:05}", number.to_bytes(4, "little") * 2000)
        db.flush()
        until(lambda: any("follower 2 is not in sync" in warning for warning in db.status()["warnings"]))
        os.kill(follower["pid"], signal.SIGCONT)
        until(lambda: "store copied" in cluster.log() or "copying" in cluster.log())
        until(lambda: all_in_sync(db) and shards_of(db)[0]["followers"][0]["lag_records"] == 0)
        table = status_lines(Sample(db.status(), 0.0))
        row = next(line.split() for line in table if str(follower["pid"]) in line)
        assert (row[:4], row[-1]) == (["2", "1", str(follower["pid"]), "0"], "yes")
        os.kill(shard["leader"]["pid"], signal.SIGKILL)
        until(lambda: shards_of(db)[0]["leader"]["pid"] == follower["pid"])
        for number in range(4000):
            assert db.get(f"key{number:05}") == number.to_bytes(4, "little") * 2000
        assert db.count() == 4000
        assert_replicas_equal(db)


def test_a_leader_that_is_stopped_is_killed_and_replaced(tmp_path: Path) -> None:
    flags = ["--followers=1", "--answer-seconds-max=2"]
    with (
        Cluster(shards=1, data=tmp_path / "data", flags=flags) as cluster,
        cluster.client(timeout=20.0) as db,
    ):
        until(lambda: all_in_sync(db))
        (shard,) = shards_of(db)
        db.put("k", 1)
        os.kill(shard["leader"]["pid"], signal.SIGSTOP)
        until(lambda: cluster.log().count("failover") == 1)
        until(lambda: db.get("k") == 1)
        assert shards_of(db)[0]["leader"]["pid"] == shard["followers"][0]["pid"]
        db.put("k", 2)
        assert db.get("k") == 2
        assert_replicas_equal(db)


def owner(db: Client, key: str) -> int:
    """The shard that a key belongs to."""
    from sherd.common.topology.state import Topology
    from sherd.common.topology.token_map import TokenMap

    topology = Topology.from_json(db.topology())
    return TokenMap(topology.layout).owner(key.encode())


def test_a_planned_failover_loses_nothing_and_fails_nothing(tmp_path: Path) -> None:
    with (
        Cluster(shards=1, data=tmp_path / "data", flags=["--followers=1"]) as cluster,
        cluster.client(timeout=10.0) as db,
    ):
        until(lambda: all_in_sync(db))
        with Writer(cluster, 40) as writer:
            for _ in range(5):
                (before,) = shards_of(db)
                done = db.administer("failover", 1, None, False)
                assert done["term"] == before["term"] + 1
                until(lambda before=before: shards_of(db)[0]["leader"]["pid"] != before["leader"]["pid"])
                until(lambda: all_in_sync(db))
        writer.check(db)
        assert writer.timeouts == 0
        leader = db.topology()["shards"]["1"]["leader"]
        with pytest.raises(BadRequest, match="leads shard 1 already"):
            db.administer("failover", 1, leader, False)
        with pytest.raises(BadRequest, match="no replica 'x'"):
            db.administer("failover", 1, "x", False)
        with pytest.raises(BadRequest, match="no shard 9"):
            db.administer("failover", 9, None, False)


def test_a_leader_whose_successor_does_not_answer_leads_on(tmp_path: Path) -> None:
    flags = ["--followers=1", "--answer-seconds-max=60"]
    with (
        Cluster(shards=1, data=tmp_path / "data", flags=flags) as cluster,
        cluster.client(timeout=10.0) as db,
    ):
        until(lambda: all_in_sync(db))
        follower = shards_of(db)[0]["followers"][0]["pid"]
        os.kill(follower, signal.SIGSTOP)
        try:
            db.put("a", 1)
            with pytest.raises((Unavailable, BadRequest), match=r"did not catch up|not in sync"):
                db.administer("failover", 1, "2", False)
            db.put("a", 2)
        finally:
            os.kill(follower, signal.SIGCONT)
        assert db.get("a") == 2
        until(lambda: all_in_sync(db))
        assert db.administer("failover", 1, None, False)["leader"] == "2"
        assert db.get("a") == 2


def test_a_leader_that_hands_over_after_everybody_has_given_up_leaves_no_shard_without_a_leader(tmp_path: Path) -> None:
    flags = ["--followers=1", "--answer-seconds-max=60"]
    with (
        Cluster(shards=1, data=tmp_path / "data", flags=flags) as cluster,
        cluster.client(timeout=20.0) as db,
        Client(cluster.address, timeout=20.0, retry=False) as operator,
    ):
        until(lambda: all_in_sync(db))
        db.put("a", 1)
        until(lambda: shards_of(db)[0]["followers"][0]["lag_records"] == 0)
        leader = shards_of(db)[0]["leader"]["pid"]
        os.kill(leader, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match="did not catch up"):
                operator.administer("failover", 1, "2", False)
        finally:
            os.kill(leader, signal.SIGCONT)  # what it was asked lies in its socket
        assert db.get("a") == 1
        until(lambda: "ending, so that another leads" in cluster.log())
        db.put("a", 2)
        until(lambda: all_in_sync(db))
        assert_replicas_equal(db)
