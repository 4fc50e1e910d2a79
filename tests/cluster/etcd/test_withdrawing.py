"""A replica that finds its store damaged, in a cluster on many hosts: nothing is given up that others may count on."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.equal_replicas import assert_replicas_equal
from support.etcd_process import EtcdMember
from support.up_process import UpProcess

from sherd.client.sync import Client
from sherd.cluster.etcd.gateway import GatewayEtcd
from sherd.cluster.etcd.seat import WITHDRAW_SECONDS_MAX, LeasedSeat
from sherd.cluster.etcd.topology import EtcdTopology
from sherd.cluster.topology_store import change, topology_of
from sherd.common.clock import ManualClock
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term
from sherd.common.world import system_world

PATIENCE_SECONDS = 20
LEASE_SECONDS = 2
ONE = ShardId(1)
ADDRESSES = {"1": "127.0.0.1:1", "2": "127.0.0.1:2"}


class Parties:
    """The seat of replica 2, and a coordinator's view of the topology."""

    def __init__(self, member: EtcdMember, prefix: str) -> None:
        self.etcd, etcd = GatewayEtcd(member.config()), GatewayEtcd(member.config())
        self.clock = ManualClock()
        self.store = EtcdTopology(self.etcd, prefix, random.Random(1))
        world = replace(system_world(), clock=self.clock)
        self.seat = LeasedSeat(etcd, EtcdTopology(etcd, prefix, random.Random(2)), world, ONE, "2", LEASE_SECONDS)

    async def state(self) -> ShardState:
        return (await topology_of(self.store)).shards[ONE]


@asynccontextmanager
async def parties(member: EtcdMember, prefix: str, leader: str, in_sync: tuple[str, ...]):
    found = Parties(member, prefix)
    state = ShardState(ONE, Term(3), leader, ADDRESSES, in_sync)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await found.store.compare_and_set(0, Topology(1, "test", range_layout(1), {ONE: state}))
            yield found
    finally:
        await found.seat.close()
        await found.etcd.close()


def test_who_is_not_counted_on_leaves_at_once_and_a_change_decided_before_is_void(etcd, prefix):
    async def scenario():
        async with parties(etcd, prefix, "1", ("1",)) as found:
            seen = await found.state()
            left = (await found.seat.withdraw()).shards[ONE]
            assert (left.replicas, left.in_sync) == ({**ADDRESSES, "2": ""}, ("1",))
            assert await found.state() == left
            again = (await found.seat.withdraw()).shards[ONE]  # also where that changes nothing that can be seen
            assert again.revision == left.revision + 1 == seen.revision + 2

            def admit(state: ShardState) -> ShardState | None:
                return replace(state, in_sync=("1", "2")) if state == seen else None

            assert await change(found.store, ONE, admit) is None

    asyncio.run(scenario())


@pytest.mark.parametrize("leader", ["1", "2"])
def test_who_is_counted_on_waits_until_the_others_do_without_it(etcd, prefix, leader):
    async def scenario():
        async with parties(etcd, prefix, leader, ("1", "2")) as found:
            leaving = asyncio.create_task(found.seat.withdraw())
            await asyncio.sleep(0.5)
            assert not leaving.done()
            await change(
                found.store, ONE, lambda state: replace(state, term=Term(4), leader="1", in_sync=("1",))
            )  # fmt: skip
            topology = await leaving
            assert (topology.shards[ONE].leader, topology.shards[ONE].in_sync) == ("1", ("1",))
            assert topology == await topology_of(found.store)

    asyncio.run(scenario())


def test_who_leads_and_has_no_successor_stays_what_it_is(etcd, prefix):
    async def scenario():
        async with parties(etcd, prefix, "2", ("2",)) as found:
            leaving = asyncio.create_task(found.seat.withdraw())
            await asyncio.sleep(0.3)
            assert not leaving.done()
            found.clock.advance(WITHDRAW_SECONDS_MAX + 1)
            assert (await leaving).shards[ONE] == await found.state()
            assert (await found.state()).leader == "2"

    asyncio.run(scenario())


class Hosts:
    """A coordinator, a proxy and a shard's two replicas, each started as on a host of its own."""

    def __init__(self, etcd: EtcdMember, prefix: str, folder: Path) -> None:
        self._shared = [
            f"--etcd-endpoints={etcd.url}",
            f"--etcd-prefix={prefix}",
            f"--etcd-lease-seconds={LEASE_SECONDS}",
        ]
        self._folder = folder
        self.replicas: dict[str, UpProcess] = {}
        self.coordinator = self._run("coordinator", "--shards=1", "--followers=1")
        self.coordinator.await_log("coordinating")
        self.start("1")
        self.start("2")
        self.proxy = self._run("proxy")
        self.address = self.proxy.await_log(r" serving .*address=(\S+)").group(1)

    def _run(self, command: str, *flags: str) -> UpProcess:
        flags = (command, "--listen=127.0.0.1:0", *self._shared, *flags)
        return UpProcess([sys.executable, "-P", "-m", "sherd.cli.main", *flags])

    def directory(self, name: str) -> Path:
        return self._folder / f"replica-{name}"

    def start(self, name: str) -> UpProcess:
        flags = ("--id=1", f"--replica={name}", f"--data={self.directory(name)}", "--memtable-bytes=256KiB")
        self.replicas[name] = self._run("shard", *flags)
        return self.replicas[name]

    def kill_and_damage(self, name: str) -> None:
        self.replicas[name].signal(signal.SIGKILL)
        self.replicas[name].wait()
        (self.directory(name) / "MANIFEST").unlink()

    def stop(self) -> None:
        for process in (self.proxy, *self.replicas.values(), self.coordinator):
            process.__exit__()


@contextmanager
def hosts(etcd: EtcdMember, prefix: str, folder: Path) -> Iterator[Hosts]:
    found = Hosts(etcd, prefix, folder)
    try:
        yield found
    finally:
        found.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def follower_of(db: Client) -> tuple[str, bool]:
    """Name, and whether it is in sync."""
    (follower,) = db.status()["shards"][0]["followers"]
    return follower["name"], follower["in_sync"]


def test_a_damaged_follower_in_sync_and_a_damaged_leader_begin_anew_once_others_do_without_them(etcd, prefix, tmp_path):
    with hosts(etcd, prefix, tmp_path) as found, Client(found.address) as db:
        until(lambda: follower_of(db)[1])
        follower, _ = follower_of(db)
        leader = {"1": "2", "2": "1"}[follower]
        for number in range(500):
            db.put(f"key{number:04}", bytes(1000))
        for damaged, also in ((follower, "not in sync"), (leader, "failover")):
            found.kill_and_damage(damaged)
            process = found.start(damaged)
            process.await_log("waiting until the others do without it")
            assert list(found.directory(damaged).glob("*.wal"))
            assert not (found.directory(damaged) / "quarantine").exists()
            found.coordinator.await_log(also)
            process.await_log("store damaged, beginning anew")
            found.coordinator.await_log("follower is in sync", f"replica={damaged} ")
            assert any((found.directory(damaged) / "quarantine").iterdir())
        assert_replicas_equal(db)
        assert db.count() == 500
