"""The topology in etcd: compare-and-set, following, what a damaged key is answered with."""

import asyncio
import json
import logging
import random
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support.etcd_process import EtcdMember, etcd_cluster

from sherd.cluster.etcd.api import Absent, Delete, EtcdUnavailable, Holds, Put
from sherd.cluster.etcd.gateway import GatewayEtcd
from sherd.cluster.etcd.topology import EtcdTopology
from sherd.cluster.replicas import Replicas
from sherd.cluster.topology_store import TopologyChanged
from sherd.common.errors import StoreCorrupt, StoreFormat
from sherd.common.net.network import SystemNetwork
from sherd.common.topology.layout import Layout
from sherd.common.topology.ring import ring_layout
from sherd.common.topology.state import Move, ShardState, Topology
from sherd.common.types import LayoutCounter, ShardId, Term

PATIENCE_SECONDS = 20
SHARDS = [ShardId(1), ShardId(2), ShardId(12)]
MOVES = tuple(Move(id_, (1,), SHARDS[0], SHARDS[1], "copy", Term(1), Term(1)) for id_ in (9, 10))
FIRST = Topology(
    1, "test", ring_layout("test", dict.fromkeys(SHARDS, 1.0)), {id_: ShardState(id_) for id_ in SHARDS}, MOVES
)


class Process:
    """What one process has: a client of etcd, and the topology that it follows."""

    def __init__(self, member: EtcdMember, prefix: str, **settings) -> None:
        self.etcd = GatewayEtcd(member.config(**settings))
        self.store = EtcdTopology(self.etcd, prefix, random.Random(1))
        self.following: asyncio.Task | None = None

    def follow(self):
        self.following = asyncio.create_task(self.store.follow())

    async def end(self):
        if self.following:
            self.following.cancel()
            await asyncio.gather(self.following, return_exceptions=True)
        await self.etcd.close()


@asynccontextmanager
async def processes(count: int, member: EtcdMember, prefix: str, **settings):
    found = [Process(member, prefix, **settings) for _ in range(count)]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield found
    finally:
        for process in found:
            await process.end()


def raised(topology: Topology, shard: ShardId) -> Topology:
    """The next topology: the shard's term is one more."""
    state = topology.shards[shard]
    return topology.with_shard(replace(state, term=Term(state.term + 1)))


def test_what_was_written_is_read_and_stands_under_its_keys(etcd, prefix):
    async def scenario():
        async with processes(2, etcd, prefix) as (one, other):
            assert await one.store.read() is None
            assert one.store.latest is None
            await one.store.compare_and_set(0, FIRST)
            assert one.store.latest == FIRST
            assert await other.store.read() == FIRST
            _, found = await one.etcd.read_prefix(f"{prefix}/")
            values = {pair.key.removeprefix(f"{prefix}/"): json.loads(pair.value) for pair in found}
            assert values == {
                "version": 1,
                "cluster": {"format": 1, "id": "test", "coordinator": ""},
                "layout": FIRST.layout.to_json(),
                **{f"shards/{id_}": FIRST.shards[id_].to_json() for id_ in SHARDS},
                **{f"moves/{move.id}": move.to_json() for move in MOVES},
            }

    asyncio.run(scenario())


def test_a_change_writes_what_differs_and_no_more(etcd, prefix):
    async def scenario():
        async with processes(2, etcd, prefix) as (one, other):
            await one.store.compare_and_set(0, FIRST)
            before, _ = await one.etcd.read_prefix(prefix)
            second = raised(FIRST, SHARDS[2])
            await one.store.compare_and_set(1, second)
            counter = LayoutCounter(2)
            shards = {id_: state for id_, state in second.shards.items() if id_ != SHARDS[2]}
            layout = Layout(counter, "hash", ring_layout("test", dict.fromkeys(shards, 1.0)).partitions)
            third = Topology(3, "test", layout, shards, MOVES[1:])
            await other.store.compare_and_set(2, third)
            assert await one.store.read() == third
            _, found = await one.etcd.read_prefix(f"{prefix}/")
            changed = {pair.key.removeprefix(f"{prefix}/"): pair.mod_revision - before for pair in found}
            assert changed == {"version": 2, "cluster": 0, "layout": 2, "shards/1": 0, "shards/2": 0, "moves/10": 0}

    asyncio.run(scenario())


def test_who_expects_another_version_changes_nothing(etcd, prefix):
    async def scenario():
        async with processes(2, etcd, prefix) as (one, other):
            with pytest.raises(TopologyChanged, match="at version 0, not 1"):
                await one.store.compare_and_set(1, replace(FIRST, version=2))
            with pytest.raises(ValueError, match="cannot follow"):
                await one.store.compare_and_set(1, FIRST)
            await one.store.compare_and_set(0, FIRST)
            with pytest.raises(TopologyChanged, match="at version 1, not 0"):
                await other.store.compare_and_set(0, FIRST)
            second = raised(FIRST, SHARDS[0])
            await other.store.compare_and_set(1, second)
            with pytest.raises(TopologyChanged, match="not at version 1"):  # of which it has not heard
                await one.store.compare_and_set(1, raised(FIRST, SHARDS[1]))
            assert one.store.latest == FIRST
            assert await one.store.read() == second
            assert one.store.latest == second

    asyncio.run(scenario())


def test_conditions_and_changes_that_come_along_hold_together_with_it(etcd, prefix):
    async def scenario():
        async with processes(1, etcd, prefix) as (one,):
            await one.store.compare_and_set(0, FIRST)
            lease = one.store.keys.lease(SHARDS[0])
            second = raised(FIRST, SHARDS[0])
            await one.store.compare_and_set(1, second, [Absent(lease)], [Put(lease, b"me")])
            third = raised(second, SHARDS[0])
            with pytest.raises(TopologyChanged, match="or a condition does not hold"):
                await one.store.compare_and_set(2, third, [Absent(lease)], [Put(lease, b"another")])
            assert await one.store.read() == second
            await one.store.compare_and_set(2, third, [Holds(lease, b"me")], [Delete(lease)])
            assert (await one.etcd.read_prefix(lease))[1] == []
            assert await one.store.read() == third

    asyncio.run(scenario())


def test_of_many_that_write_at_once_none_is_lost(etcd, prefix):
    rounds, writers = 10, 8

    async def scenario():
        async with processes(writers, etcd, prefix) as all_:
            await all_[0].store.compare_and_set(0, FIRST)
            for process in all_[: writers // 2]:  # some follow, some read only
                process.follow()

            async def raise_terms(process):
                replicas = Replicas(process.store, SystemNetwork())
                return [(await replicas.begin(SHARDS[0], "1", f"unix:/{n}")).term for n in range(rounds)]

            terms = await asyncio.gather(*(raise_terms(process) for process in all_))
            assert sorted(term for told in terms for term in told) == list(range(1, rounds * writers + 1))
            final = await all_[-1].store.read()
            assert (final.version, final.shards[SHARDS[0]].term) == (1 + rounds * writers, rounds * writers)
            for process in all_[: writers // 2]:
                assert await process.store.watch(final.version - 1) == final
                assert process.store.latest == final

    asyncio.run(scenario())


def test_everybody_who_waits_is_served_by_one_watch(etcd, prefix):
    async def scenario():
        async with processes(2, etcd, prefix) as (writer, reader):
            reader.follow()
            waiting = [asyncio.ensure_future(reader.store.watch(version)) for version in (0, 0, 1, 2)]
            await writer.store.compare_and_set(0, FIRST)
            assert await waiting[0] == await waiting[1] == FIRST
            topology = raised(FIRST, SHARDS[0])
            await writer.store.compare_and_set(1, topology)
            assert await waiting[2] == topology
            assert not waiting[3].done()
            lease = await writer.etcd.grant(60)  # not the topology's: nobody is told
            await writer.etcd.transact([], [Put(writer.store.keys.lease(SHARDS[0]), b"me", lease.id)])
            await writer.etcd.transact([], [Put(f"{prefix}/coordinator", b"me"), Put(f"{prefix}/unknown", b"")])
            assert await reader.store.read() == topology
            assert not waiting[3].done()
            topology = raised(topology, SHARDS[1])
            await writer.store.compare_and_set(2, topology)
            seen = await waiting[3]
            assert seen == topology
            assert seen.layout is (await waiting[0]).layout  # which did not change, and was not decoded again

    asyncio.run(scenario())


class Awaited(logging.Handler):
    """Tells when a message is logged."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message
        self.logged = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._message:
            self.logged.set()


def test_a_follower_whose_revision_was_compacted_reads_anew(etcd, prefix, caplog):
    caplog.set_level(logging.INFO)

    async def scenario():
        awaited = Awaited("topology is read anew")
        logging.getLogger().addHandler(awaited)
        async with processes(2, etcd, prefix, silence_seconds=0.2) as (writer, reader):
            await writer.store.compare_and_set(0, FIRST)
            reader.follow()
            await reader.store.watch(0)
            for number in range(3):  # others' keys, of which this watch hears nothing
                await writer.etcd.transact([], [Put(f"{prefix}-other", b"%d" % number)])
            revision, _ = await writer.etcd.read_prefix(prefix)
            etcd.post("/v3/kv/compaction", revision=str(revision))
            await awaited.logged.wait()  # the watch was quiet, and asked for anew
            topology = raised(FIRST, SHARDS[1])
            await writer.store.compare_and_set(1, topology)
            assert await reader.store.watch(1) == topology
        logging.getLogger().removeHandler(awaited)

    asyncio.run(scenario())


def test_a_follower_goes_on_when_etcd_is_back(tmp_path, caplog):  # FAULTS 19
    caplog.set_level(logging.INFO)

    async def scenario(member: EtcdMember):
        async with processes(2, member, "sherd", request_seconds=0.5, silence_seconds=0.3) as (writer, reader):
            await writer.store.compare_and_set(0, FIRST)
            reader.follow()
            await reader.store.watch(0)
            waiting = asyncio.ensure_future(reader.store.watch(1))
            member.kill()
            with pytest.raises(EtcdUnavailable):
                await writer.store.read()
            with pytest.raises(EtcdUnavailable):
                await writer.store.compare_and_set(1, raised(FIRST, SHARDS[0]))
            assert reader.store.latest == writer.store.latest == FIRST
            await asyncio.to_thread(member.start)
            second = raised(FIRST, SHARDS[0])
            await writer.store.compare_and_set(1, second)
            assert await waiting == second

    with etcd_cluster(tmp_path) as (member,):
        asyncio.run(scenario(member))
    assert [record.getMessage() for record in caplog.records if record.name.endswith("etcd.topology")] == [
        "etcd cannot be followed",
        "etcd answers again",
    ]


def test_an_etcd_that_lost_its_past_is_not_believed(tmp_path):
    def start_anew(member: EtcdMember) -> None:
        member.kill()
        shutil.rmtree(tmp_path / "m0")
        member.start()

    async def scenario(member: EtcdMember):
        async with processes(2, member, "sherd") as (one, other):
            await one.store.compare_and_set(0, FIRST)
            await one.store.read()
            await asyncio.to_thread(start_anew, member)
            with pytest.raises(StoreCorrupt, match=r"went back from revision 2 to 1.*restart"):
                await one.store.read()
            assert one.store.latest == FIRST
            assert await other.store.read() is None  # who knows nothing has nothing to lose

    with etcd_cluster(tmp_path) as (member,):
        asyncio.run(scenario(member))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", b"1.5", "key {}/version: .*no version"),
        ("version", b"{", "key {}/version"),
        ("version", None, "key {}/version is missing, and {}/cluster is there"),
        ("cluster", None, "key {}/cluster is missing"),
        ("cluster", b'{"format":1}', "key {}/cluster: .*id"),
        ("cluster", b'{"format":2,"id":"test"}', "key {}/cluster: format 2, but this version of sherd reads format 1"),
        ("layout", b"[]", "key {}/layout: malformed layout"),
        ("layout", b'{"counter":1,"mode":"hash","partitions":[]}', "key {}/layout: a layout must begin"),
        ("shards/1", b"null", "key {}/shards/1: "),
        ("shards/01", b"{}", "key {}/shards/01: .*is no number"),
        ("shards/x", b"{}", "key {}/shards/x: "),
        ("shards/2", None, "keys under {}/ do not fit each other: the layout names shards that do not exist"),
        ("moves/11", json.dumps(MOVES[0].to_json()).encode(), "key {}/moves/11: .*holds move 9"),
        ("moves/9", b"\xff", "key {}/moves/9: "),
    ],
)
def test_a_damaged_key_is_named(etcd, prefix, key, value, words):
    name = f"{prefix}/{key}"

    async def scenario():
        async with processes(2, etcd, prefix) as (writer, reader):
            await writer.store.compare_and_set(0, FIRST)
            await writer.etcd.transact([], [Delete(name) if value is None else Put(name, value)])
            with pytest.raises((StoreCorrupt, StoreFormat), match=words.replace("{}", prefix)) as caught:
                await reader.store.read()
            assert isinstance(caught.value, StoreFormat) == ("format 2" in words)
            assert reader.store.latest is None

    asyncio.run(scenario())


def test_a_follower_complains_once_and_goes_on_when_it_is_mended(etcd, prefix, caplog):
    async def scenario():
        async with processes(2, etcd, prefix) as (writer, reader):
            await writer.store.compare_and_set(0, FIRST)
            reader.follow()
            await reader.store.watch(0)
            key = writer.store.keys.shard(SHARDS[0])
            second = raised(FIRST, SHARDS[0])
            for version in (b"2", b"3"):
                await writer.etcd.transact([], [Put(key, b"{}"), Put(writer.store.keys.version, version)])
            with pytest.raises(StoreCorrupt):
                await writer.store.read()
            assert reader.store.latest == FIRST
            third = replace(second, version=4)
            await writer.etcd.transact([], [*writer.store.keys.changes(FIRST, third)])
            assert await reader.store.watch(1) == third

    asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == ["topology not usable"]


def test_another_clusters_topology_is_not_taken_for_ours(etcd, prefix):
    async def scenario():
        async with processes(1, etcd, prefix) as (one,):
            await one.store.compare_and_set(0, FIRST)
            other = replace(FIRST, version=2, cluster_id="other")
            await one.etcd.transact([], one.store.keys.changes(FIRST, other))
            with pytest.raises(StoreCorrupt, match="the topology of cluster other is where that of test was"):
                await one.store.read()
            assert one.store.latest == FIRST

    asyncio.run(scenario())
