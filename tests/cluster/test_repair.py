"""Replicas that differ or are damaged come to be equal again, over real processes; what must not be given up is not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.equal_replicas import assert_replicas_equal, repair_of, verdicts_of

from sherd.client.sync import Client
from sherd.common.disk import RealDisk
from sherd.common.types import ShardId
from sherd.shard.lsm.manifest import read_manifest, write_manifest
from sherd.testing import Cluster, ClusterError

PATIENCE_SECONDS = 30.0
KEYS = 600
ONE = ShardId(1)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def shard_of(db: Client) -> dict[str, Any]:
    found: dict[str, Any] = db.status()["shards"][0]
    return found


def in_sync(db: Client) -> bool:
    return all(follower["in_sync"] for follower in shard_of(db)["followers"])


def repair(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    """Exit code and output of ``sherd repair``."""
    command = [sys.executable, "-P", "-m", "sherd.cli.main", "repair", f"--connect={cluster.address}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def start(path: Path, followers: int = 1) -> Cluster:
    flags = [f"--followers={followers}", "--memtable-bytes=256KiB", "--restart-seconds-min=0.1"]
    return Cluster(shards=1, data=path / "data", flags=flags)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One shard with a follower; both have tables, and something in their log."""
    with start(tmp_path) as found, found.client() as db:
        until(lambda: in_sync(db))
        fill(db)
        yield found


def fill(db: Client) -> None:
    for number in range(KEYS):
        db.put(f"key{number:04}", os.urandom(500))
    db.flush()
    db.put("in the log", 1)


def check_keys(db: Client) -> None:
    assert db.count() == KEYS + 1
    assert len(db.get("key0007")) == 500


def lose_a_table(directory: Path) -> None:
    """The stopped store forgets a table: nothing in it is damaged, and a third of its keys is missing."""
    manifest = read_manifest(RealDisk(), str(directory))
    assert manifest is not None
    assert manifest.tables
    write_manifest(RealDisk(), str(directory), replace(manifest, tables=manifest.tables[1:]))


def first_table(directory: Path) -> Path:
    return min(directory.glob("*.sst"))


def truncate(directory: Path) -> None:
    table = first_table(directory)
    os.truncate(table, table.stat().st_size - 100)


def delete_manifest(directory: Path) -> None:
    (directory / "MANIFEST").unlink()


def flip_a_byte(directory: Path) -> None:
    with first_table(directory).open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes((byte ^ 4,)))


def test_a_follower_that_differs_is_found_and_mended(cluster: Cluster) -> None:
    with cluster.client() as db:
        assert repair(cluster) == (0, repair(cluster, "--check", "1")[1])
        cluster.stop()
        lose_a_table(cluster.data / "shard-1-replica-2")
        cluster.start()
        code, text = repair(cluster, "--check")
        assert (code, "differs in" in text) == (4, True), text
        code, text = repair(cluster, "--json")
        (verdict,) = json.loads(text)
        assert (code, verdict["equal"], verdict["rebuilt"], verdict["entries"]) == (0, True, True, KEYS + 1)
        assert any((cluster.data / "shard-1-replica-2" / "quarantine").glob("*.sst"))
        until(lambda: in_sync(db))
        assert_replicas_equal(db)
        os.kill(shard_of(db)["leader"]["pid"], signal.SIGKILL)
        until(lambda: "failover" in cluster.log())
        check_keys(db)
        code, text = repair(cluster, "7")
        assert (code, "there is no shard 7" in text) == (2, True), text


@pytest.mark.parametrize("damage", [truncate, delete_manifest])
def test_a_follower_that_cannot_start_begins_anew(cluster: Cluster, damage: Callable[[Path], None]) -> None:
    cluster.stop()
    damage(cluster.data / "shard-1-replica-2")
    cluster.start()
    with cluster.client() as db:
        until(lambda: in_sync(db))
        assert "store damaged, beginning anew" in cluster.log()
        assert_replicas_equal(db)
        check_keys(db)
        assert shard_of(db)["term"] == 2  # the leader went on leading


def test_a_follower_that_meets_damage_begins_anew_by_itself(cluster: Cluster) -> None:
    cluster.stop()
    flip_a_byte(cluster.data / "shard-1-replica-2")
    cluster.start()
    with cluster.client() as db:
        (verdict,) = repair_of(db).compare(ONE)
        assert (verdict.damaged, "CORRUPTION" in verdict.error or ".sst" in verdict.error) == (True, True)
        until(lambda: "asking to begin anew" in cluster.log())
        until(lambda: all(verdict.equal for verdict in verdicts_of(db)))
        until(lambda: in_sync(db))
        check_keys(db)


def test_a_damaged_leader_is_told_and_mended_once_another_leads(cluster: Cluster) -> None:
    cluster.stop()
    flip_a_byte(cluster.data / "shard-1")
    cluster.start()
    with cluster.client() as db:
        code, text = repair(cluster)
        assert (code, "follower 2: not compared: " in text, ".sst" in text) == (4, True, True), text
        os.kill(shard_of(db)["leader"]["pid"], signal.SIGKILL)
        until(lambda: "failover" in cluster.log() and in_sync(db))
        code, text = repair(cluster)
        assert code == 0, text
        check_keys(db)


def test_a_leader_that_has_met_damage_hands_over_and_begins_anew(cluster: Cluster) -> None:
    cluster.stop()
    flip_a_byte(cluster.data / "shard-1")
    cluster.start()
    with cluster.client() as db:
        until(lambda: in_sync(db))
        code, text = repair(cluster, "--check")
        assert (code, ".sst" in text) == (4, True), text
        assert db.administer("failover", 1, None, False)["leader"] == "2"
        until(lambda: "asking to begin anew" in cluster.log())
        until(lambda: all(verdict.equal for verdict in verdicts_of(db)))
        until(lambda: in_sync(db))
        assert "process died" not in cluster.log()
        check_keys(db)


def test_a_follower_whose_compaction_meets_damage_begins_anew_by_itself(tmp_path: Path) -> None:
    flags = ["--followers=1", "--memtable-bytes=256KiB", "--level0-tables-compact=4"]
    with Cluster(shards=1, data=tmp_path / "data", flags=flags) as cluster, cluster.client() as db:
        until(lambda: in_sync(db))
        fill(db)
        until(lambda: shard_of(db)["followers"][0]["lag_records"] == 0)
        cluster.stop()
        flip_a_byte(cluster.data / "shard-1-replica-2")
        cluster.start()
        for _ in range(4):
            fill(db)
        until(lambda: "asking to begin anew" in cluster.log())
        until(lambda: "leader=unix" in cluster.log() and in_sync(db))
        assert "job failed" in cluster.log()
        until(lambda: all(verdict.equal for verdict in verdicts_of(db)))
        check_keys(db)


@pytest.mark.parametrize("damage", [truncate, delete_manifest])
def test_a_leader_that_cannot_start_begins_anew_once_another_leads(
    cluster: Cluster, damage: Callable[[Path], None]
) -> None:
    cluster.stop()
    damage(cluster.data / "shard-1")
    cluster.start()
    with cluster.client() as db:
        until(lambda: in_sync(db))
        assert "failover" in cluster.log()
        check_keys(db)
        assert_replicas_equal(db)
        assert [follower["name"] for follower in shard_of(db)["followers"]] == ["1"]


def test_a_leader_that_nobody_can_follow_upon_is_not_given_up(tmp_path: Path) -> None:
    with start(tmp_path, followers=0) as cluster:
        with cluster.client() as db:
            fill(db)
        cluster.stop()
        directory = cluster.data / "shard-1"
        truncate(directory)
        before = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
        with pytest.raises(ClusterError, match="bytes, not"):
            cluster.start()
        assert {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()} == before


def test_a_rebuild_that_is_killed_again_and_again_ends_equal(cluster: Cluster) -> None:
    with cluster.client() as db:
        cluster.stop()
        lose_a_table(cluster.data / "shard-1-replica-2")
        cluster.start()
        until(lambda: in_sync(db))
        db.administer("ask_replica", 1, "1", "rebuild", ["2"])
        for kills in range(1, 4):
            until(lambda kills=kills: cluster.log().count(" copying ") >= kills or not rebuilding(db))
            pid = shard_of(db)["followers"][0]["pid"]
            time.sleep(0.003 * kills)  # somewhere in the copy, or in what is made of it
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: shard_of(db)["followers"][0]["pid"] not in (pid, None))
        until(lambda: not rebuilding(db))
        until(lambda: in_sync(db))
        assert_replicas_equal(db)
        check_keys(db)


def rebuilding(db: Client) -> bool:
    return bool(db.administer("ask_replica", 1, "1", "followers", [])["2"]["rebuild"])
