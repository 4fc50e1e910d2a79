"""Replicas that are behind where writes wait for the leader only: with a tail nobody else has, on a slow path, on a
full disk.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from support.host_cluster import (
    MEMTABLE_BYTES,
    RETAIN_LOG_BYTES,
    HostCluster,
    cut,
    isolated,
    other_replica,
    paths,
    until,
)

from sherd.cli.status import Sample, status_lines
from sherd.client.sync import Client

VALUE = os.urandom(16 << 10)
SLOWEST_SECONDS = 1.0
"""How long a write may take on a busy test machine that does not wait for anybody."""


def test_the_tail_of_a_leader_that_was_cut_off_is_saved_and_told_of(leader_acks: HostCluster) -> None:  # FAULTS 25
    cluster = leader_acks
    leader = cluster.leader()
    follower = other_replica(leader)
    with cluster.traffic("tail") as clients:
        until(lambda: clients.wrote_since(0.0), "writes are done")
        with cut(cluster, paths([leader], [follower])):
            time.sleep(0.3)  # what was on its way has arrived
            versions = cluster.ask(lambda db: [db.put(f"tail-{n}", n) for n in range(20)])
            with isolated(cluster, leader):
                until(lambda: cluster.leader() == follower, f"{follower} leads")
                healing = time.monotonic()
                until(lambda: clients.wrote_since(healing), "writes are done again")
        cluster.await_in_sync()
    clients.check_errors()
    clients.check_versions_rise()
    assert cluster.ask(lambda db: [db.get(f"tail-{n}") for n in range(20)]) == [None] * 20
    assert cluster.ask(lambda db: db.put("tail-0", "again")) > max(versions)
    cluster.ask(lambda db: db.delete("tail-0"))
    cluster.check_equal()
    cluster.await_said(leader, "stepping down", "log cut, its end is in quarantine")
    assert os.listdir(cluster.directory / leader / "quarantine")
    table = "\n".join(status_lines(Sample(cluster.status(), 0.0)))
    assert f"replica {leader.removeprefix('replica')} has records in quarantine" in table, table


def test_a_leader_is_not_held_up_by_a_follower_on_a_slow_path(leader_acks: HostCluster) -> None:  # FAULTS 23
    cluster = leader_acks
    leader = cluster.leader()
    follower = other_replica(leader)
    with cluster.network.throttled(follower, "1mbit"):
        slowest = cluster.ask(lambda db: fill(db, "slow", 24 << 20))
        nbytes = log_bytes(cluster.directory / leader)
        until(lambda: cluster.leader() == leader, "the leader leads on")
    print(f"slow path: {nbytes} bytes of log, slowest write {slowest:.3f} s")
    assert slowest < SLOWEST_SECONDS
    assert nbytes <= RETAIN_LOG_BYTES + 4 * MEMTABLE_BYTES, "more log is kept than may be"
    cluster.check_equal()
    cluster.await_said(follower, "copying")


def test_a_leader_is_not_held_up_by_a_follower_whose_disk_is_full(leader_acks: HostCluster) -> None:
    cluster = leader_acks
    leader = cluster.leader()
    follower = other_replica(leader)
    with full(cluster.directory / follower):
        slowest = cluster.ask(lambda db: fill(db, "full", 6 << 20))
        cluster.await_said(follower, "does not follow")
        time.sleep(1.0)  # in which it tries again many times
        assert cluster.leader() == leader
        assert cluster.processes[follower].runs
    assert slowest < SLOWEST_SECONDS
    cluster.check_equal()
    assert cluster.count_said(follower, "does not follow") < 5
    cluster.await_said(follower, "follows again, there is room")


def fill(db: Client, name: str, nbytes: int) -> float:
    """Write so many bytes; the seconds that the slowest write took."""
    slowest = 0.0
    for number in range(nbytes // len(VALUE)):
        began = time.monotonic()
        db.put(f"{name}-{number % 200}", VALUE)
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def log_bytes(directory: Path) -> int:
    """The size of all segments."""
    return sum(path.stat().st_size for path in directory.glob("*.wal"))


@contextlib.contextmanager
def full(directory: Path) -> Iterator[None]:
    """There is no room in a directory's file system in the meantime."""
    ballast = directory / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        yield
    finally:
        ballast.unlink()
