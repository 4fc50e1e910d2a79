"""A replica's directory is gone when its cluster starts, or another's is in its place: it does not lead without."""

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.equal_replicas import assert_replicas_equal

from sherd.client.sync import Client
from sherd.cluster.topology_file import TopologyFile
from sherd.cluster.topology_store import change
from sherd.common.disk import RealDisk
from sherd.common.errors import BadRequest, SherdError
from sherd.common.types import ShardId
from sherd.testing import Cluster, ClusterError

PATIENCE_SECONDS = 30.0
KEYS = 100


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def in_sync(db: Client) -> bool:
    return all(follower["in_sync"] for follower in db.status()["shards"][0]["followers"])


def filled(path: Path, followers: int) -> tuple[Cluster, int]:
    """A shard that was stopped with so many keys in it; the version of the last one."""
    cluster = Cluster(shards=1, data=path / "data", flags=[f"--followers={followers}", "--restart-seconds-min=0.1"])
    cluster.start()
    with cluster.client() as db:
        until(lambda: in_sync(db))
        for number in range(KEYS):
            version = db.put(f"key{number}", number)
        db.flush()
        until(lambda: in_sync(db))
    cluster.stop()
    return cluster, version


def check_keys(db: Client, version: int) -> None:
    assert db.count() == KEYS
    assert db.get(f"key{KEYS - 1}") == KEYS - 1
    assert db.put(f"key{KEYS - 1}", "new") > version


def test_of_the_leader_the_follower_leads_and_nothing_is_lost(tmp_path: Path) -> None:
    cluster, version = filled(tmp_path, followers=1)
    shutil.rmtree(cluster.data / "shard-1")
    with cluster:
        with cluster.client(timeout=10.0) as db:
            check_keys(db, version)
            assert db.topology()["shards"]["1"]["leader"] == "2"
            until(lambda: in_sync(db))
            assert_replicas_equal(db)
        assert "has been made anew and lacks what shard 1 had: another is to lead" in cluster.log()


def test_of_a_follower_it_is_filled_again(tmp_path: Path) -> None:
    cluster, version = filled(tmp_path, followers=1)
    shutil.rmtree(cluster.data / "shard-1-replica-2")
    with cluster, cluster.client(timeout=10.0) as db:
        until(lambda: in_sync(db))
        assert db.status()["warnings"] == []
        assert_replicas_equal(db)
        check_keys(db, version)
        assert db.topology()["shards"]["1"]["leader"] == "1"


def test_of_the_only_replica_nothing_is_served_until_an_operator_accepts_the_loss(tmp_path: Path) -> None:
    cluster, _ = filled(tmp_path, followers=0)
    shutil.rmtree(cluster.data / "shard-1")
    for _ in range(2):  # the second time the directory is there, and as empty
        with cluster:
            with cluster.client(timeout=1.0) as db, pytest.raises(SherdError):
                db.get("key1")
            with cluster.client() as db:
                assert any("shard 1 has no leader now" in warning for warning in db.status()["warnings"])
            assert "not leading with a store that was made anew" in cluster.log()
    with cluster:
        with cluster.client(timeout=10.0) as db:
            assert db.administer("failover", 1, "1", True)["leader"] == "1"
            assert db.get("key1") is None
            db.put("key1", "anew")
            with pytest.raises(BadRequest, match="leads shard 1, or may"):
                db.administer("failover", 1, "1", True)
        cluster.stop()
        cluster.start()
        with cluster.client(timeout=10.0) as db:
            assert db.get("key1") == "anew"


def test_of_all_replicas_the_other_shards_serve_and_an_operator_accepts_the_loss(tmp_path: Path) -> None:
    cluster = Cluster(shards=2, data=tmp_path / "data", flags=["--followers=1", "--restart-seconds-min=0.1"])
    with cluster, cluster.client() as db:
        until(lambda: in_sync(db))
        for number in range(KEYS):
            db.put(f"key{number}", number)
        left = db.status()["shards"][1]["keys"]
        assert 0 < left < KEYS
    for name in ("shard-1", "shard-1-replica-2"):
        shutil.rmtree(cluster.data / name)
    with cluster, cluster.client(timeout=10.0) as db:
        assert db.status()["shards"][1]["keys"] == left
        assert any("shard 1 has no leader now" in warning for warning in db.status()["warnings"])
        assert db.administer("failover", 1, "2", True)["leader"] == "2"
        assert db.count() == left
        for number in range(KEYS):
            db.put(f"key{number}", number)
        until(lambda: in_sync(db))
        assert_replicas_equal(db)


def test_before_anybody_has_written_it_is_no_loss(tmp_path: Path) -> None:
    """A cluster whose first start was cut short: the topology is there, and no shard has led."""
    cluster, _ = filled(tmp_path, followers=0)
    shutil.rmtree(cluster.data / "shard-1")
    store = TopologyFile(RealDisk(), str(cluster.data))
    changed = asyncio.run(change(store, ShardId(1), lambda state: replace(state, led=False)))
    assert changed is not None
    with cluster, cluster.client(timeout=10.0) as db:
        assert db.get("key1") is None


def test_directories_that_were_mixed_up_are_not_served(tmp_path: Path) -> None:
    data = tmp_path / "data"
    cluster = Cluster(shards=2, data=data, flags=["--followers=0"])
    with cluster, cluster.client() as db:
        for number in range(KEYS):
            db.put(f"key{number}", number)
    exchange(data / "shard-1", data / "shard-2")
    with pytest.raises(ClusterError, match=r"holds shard \d, and this is shard \d: are two directories mixed up"):
        cluster.start()
    exchange(data / "shard-1", data / "shard-2")
    with cluster, cluster.client() as db:
        assert [db.get(f"key{number}") for number in range(KEYS)] == list(range(KEYS))


def exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_a_directory_of_another_cluster_is_not_served(tmp_path: Path) -> None:
    first, second = (Cluster(shards=1, data=tmp_path / name, flags=["--followers=0"]) for name in ("first", "second"))
    for cluster in (first, second):
        with cluster, cluster.client() as db:
            db.put("key", str(cluster.data))
    exchange(first.data / "shard-1", second.data / "shard-1")
    with pytest.raises(ClusterError, match="another cluster's directory, or the topology was lost and made anew"):
        second.start()
