"""Acknowledgement levels and reads from followers, over real processes that are stopped and go on."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sherd.client.sync import Client
from sherd.common.errors import Forbidden, Timeout, Unavailable
from sherd.common.ready import parse_ready
from sherd.testing import Cluster

PATIENCE_SECONDS = 30.0
MINUTE_MS = 60_000


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


def links_open(log: str) -> bool:
    """Whether the proxy with this log has links to followers, for points and for ranges."""
    return all(re.search(rf"link open .*purpose=\"?{purpose}\"? address", log) for purpose in ("read", "read scan"))


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def pair(data: Path, *flags: str) -> Iterator[tuple[Cluster, Client]]:
    """A shard and its follower, in sync, whose processes may be stopped for a while."""
    settings = ["--followers=1", "--answer-seconds-max=60", *flags]
    with Cluster(shards=1, data=data, flags=settings) as cluster, cluster.client(timeout=10.0) as db:
        until(lambda: in_sync(db))
        yield cluster, db


def test_a_follower_answers_while_its_leader_is_stopped(tmp_path: Path) -> None:
    with pair(tmp_path / "data") as (cluster, db):
        version = db.put("k", 1, meta=True)
        db.batch([("put", f"n{number}", number) for number in range(100)])
        db.put("short", 1, ttl=1.0)

        def follower_has_it() -> bool:
            return bool(shard_of(db)["followers"][0]["lag_records"] == 0)

        until(follower_has_it)
        db.get("k", stale_ms=MINUTE_MS)  # the links are made for these
        db.count(stale_ms=MINUTE_MS)
        until(lambda: links_open(cluster.log()))
        leader = shard_of(db)["leader"]["pid"]
        with stopped(leader):
            assert db.get("k", stale_ms=MINUTE_MS, timeout=5.0) == 1
            assert db.get("k", at=version.at, timeout=5.0) == 1
            assert db.mget(["k", "none", "n7"], stale_ms=MINUTE_MS, timeout=5.0) == [1, None, 7]
            assert db.count(prefix="n", stale_ms=MINUTE_MS, timeout=5.0) == 100
            rows = list(db.scan(prefix="n9", stale_ms=MINUTE_MS, timeout=5.0))
            assert rows == [(b"n9", 9), *((b"n%d" % number, number) for number in range(90, 100))]
            until(lambda: db.get("short", stale_ms=MINUTE_MS, timeout=5.0) is None)  # it expires here too
            with pytest.raises((Timeout, Unavailable)):
                db.get("k", timeout=0.5)
            until(lambda: asks_the_leader(db))
        until(lambda: db.get("k") == 1)
        assert shard_of(db)["leader"]["pid"] == leader


def asks_the_leader(db: Client) -> bool:
    """Whether the follower is over 300 ms old by now, so that only the stopped leader could answer."""
    try:
        db.get("k", stale_ms=300, timeout=0.5)
    except (Timeout, Unavailable):
        return True
    return False


def test_a_write_reads_back_from_wherever_it_is_asked_for(tmp_path: Path) -> None:
    with pair(tmp_path / "data") as (_, db):
        for number in range(300):
            written = db.put("k", number, meta=True)
            assert db.get("k", at=written.at) == number
            assert db.get("k", stale_ms=1) <= number
        (old,) = db.batch([("put", "k", "last")], acks="insync", meta=True)
        assert db.get("k", at=old.at, meta=True).version == old.result


def waits_for_nobody(db: Client) -> bool:
    """Whether the leader knows that no follower is in sync; the topology, which status shows, says so before that."""
    try:
        db.put("other", 0, acks="insync", timeout=0.5)
    except Timeout:
        return False
    except Unavailable:
        return True
    raise AssertionError("acknowledged by a follower that is stopped")


def test_one_write_waits_for_followers_where_others_do_not(tmp_path: Path) -> None:
    with pair(tmp_path / "data", "--min-insync=2") as (_, db):
        db.put("k", 0, acks="insync")
        (follower,) = shard_of(db)["followers"]
        with stopped(follower["pid"]):
            with pytest.raises(Timeout):
                db.put("k", 1, acks="insync", timeout=0.5)
            for number in range(100):
                db.put("k", number)
            until(lambda: waits_for_nobody(db))
            for write in (
                lambda: db.put("k", -1, acks="insync", timeout=0.5),
                lambda: db.delete("k", acks="insync", timeout=0.5),
                lambda: db.batch([("put", "k", -1)], acks="insync", timeout=0.5),
            ):
                with pytest.raises(Unavailable, match="replicas in sync: 1, needed for acks insync: 2"):
                    write()
            assert db.get("k") == 99
        until(lambda: in_sync(db))
        assert db.put("k", 100, acks="insync") > 0


def test_more_replicas_in_sync_than_there_are_is_a_mistake(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sherd.cli.main", "up", f"--data={tmp_path}/data", "--listen=127.0.0.1:0"]
    done = subprocess.run(
        [*command, "--followers=1", "--min-insync=3"], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode != 0
    assert "min_insync 3 needs 2 followers of each shard, and there are 1" in done.stderr


def test_a_proxy_of_its_own_reads_from_followers_and_takes_no_writes(tmp_path: Path) -> None:
    with pair(tmp_path / "data") as (_, db):
        db.put("k", 1)
        until(lambda: shard_of(db)["followers"][0]["lag_records"] == 0)
        flags = ["--reads=followers", f"--stale-ms={MINUTE_MS}", "--read-only=yes", "--name=reader"]
        with proxy(tmp_path, *flags) as address, Client(address, timeout=5.0) as reader:
            until(lambda: reader.get("k") == 1)
            with pytest.raises(Forbidden, match="this proxy is read only"):
                reader.put("k", 2)
            until(lambda: links_open((tmp_path / "proxy.log").read_text()))
            with stopped(shard_of(db)["leader"]["pid"]):
                assert reader.get("k") == 1
                assert reader.count() == 1


@contextlib.contextmanager
def proxy(folder: Path, *flags: str) -> Iterator[str]:
    """A further proxy of the cluster in ``folder``: its address."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "sherd.cli.main", "proxy", "--listen=127.0.0.1:0", f"--ready-fd={writing}"]
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--topology={folder}/data/topology.json", *flags], stderr=log, stdout=log, pass_fds=(writing,)
        )
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            ready = parse_ready(pipe.readline())
        assert ready.address, (folder / "proxy.log").read_text()
        yield ready.address
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
