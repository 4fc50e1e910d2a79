"""The topology's file: compare-and-set, watching, and either the old or the new one after any crash."""

import asyncio
import errno

import pytest
from support.crash_disk import Crash, CrashDisk, Fault
from support.survival import SURVIVALS

from sherd.cluster.replicas import Replicas
from sherd.cluster.topology_file import FILE_NAME, TopologyFile
from sherd.cluster.topology_store import TopologyChanged
from sherd.common.disk import RealDisk
from sherd.common.net.network import SystemNetwork
from sherd.common.topology.file import encode_topology, read_topology
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term

DIRECTORY = "/data"
PATH = f"{DIRECTORY}/{FILE_NAME}"
FIRST = Topology(1, "test", range_layout(2), {ShardId(1): ShardState(ShardId(1)), ShardId(2): ShardState(ShardId(2))})
SECOND = FIRST.with_shard(ShardState.led_at(ShardId(1), Term(1), "unix:/x"))


def new_disk():
    disk = CrashDisk()
    disk.mkdir("/")
    disk.mkdir(DIRECTORY)
    disk.sync_dir("/")
    return disk


def written_once():
    disk = new_disk()
    file = disk.create(PATH)
    file.write(encode_topology(FIRST))
    file.sync()
    file.close()
    disk.sync_dir(DIRECTORY)
    return disk


def test_what_was_written_is_read(tmp_path):
    async def scenario():
        store = TopologyFile(RealDisk(), str(tmp_path))
        assert await store.read() is None
        await store.compare_and_set(0, FIRST)
        await store.compare_and_set(1, SECOND)
        assert await store.read() == SECOND
        assert await TopologyFile(RealDisk(), str(tmp_path)).read() == SECOND
        assert read_topology(RealDisk(), store.path) == SECOND

    asyncio.run(scenario())
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_only_one_of_two_writers_wins():
    async def scenario():
        store = TopologyFile(new_disk(), DIRECTORY)
        await store.compare_and_set(0, FIRST)
        results = await asyncio.gather(*(store.compare_and_set(1, SECOND) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results if result] == [TopologyChanged, TopologyChanged]
        with pytest.raises(TopologyChanged, match="at version 2, not 0"):
            await store.compare_and_set(0, FIRST)
        with pytest.raises(ValueError, match="cannot follow"):
            await store.compare_and_set(2, FIRST)

    asyncio.run(scenario())


def test_terms_raised_at_once_are_all_kept():
    async def scenario():
        store = TopologyFile(written_once(), DIRECTORY)
        replicas = Replicas(store, SystemNetwork())
        states = await asyncio.gather(*(replicas.begin(ShardId(1 + n % 2), "1", f"unix:/{n}") for n in range(10)))
        assert sorted(state.term for state in states) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        topology = await store.read()
        assert topology.version == 11
        assert [state.term for state in topology.shards.values()] == [5, 5]

    asyncio.run(scenario())


def test_watching_waits_for_a_newer_one():
    async def scenario():
        store = TopologyFile(written_once(), DIRECTORY)
        assert await store.watch(0) == FIRST
        watching = asyncio.ensure_future(store.watch(1))
        await asyncio.sleep(0)
        assert not watching.done()
        await store.compare_and_set(1, SECOND)
        assert await watching == SECOND

    asyncio.run(scenario())


def test_a_crash_anywhere_leaves_the_old_one_or_the_new_one():  # FAULTS 11
    disk = written_once()
    before = len(disk.operations)
    asyncio.run(TopologyFile(disk, DIRECTORY).compare_and_set(1, SECOND))
    points = len(disk.operations) - before
    assert points >= 5
    seen = set()
    for point in range(points):
        for when in ("before", "midway", "after"):
            crashing = CrashDisk(written_once().image())
            store = TopologyFile(crashing, DIRECTORY)
            crashing.crash_at(point, when)
            with pytest.raises(Crash):
                asyncio.run(store.compare_and_set(1, SECOND))
            images = [crashing.image()]
            images += [crashing.image().power_cut(survival, seed) for survival in SURVIVALS for seed in range(3)]
            for image in images:
                again = CrashDisk(image)
                store = TopologyFile(again, DIRECTORY)
                found = asyncio.run(store.read())
                assert found in (FIRST, SECOND)
                seen.add(found.version)
                asyncio.run(store.compare_and_set(found.version, found.with_shard(ShardState(ShardId(2), Term(9)))))
                assert read_topology(again, PATH).shards[ShardId(2)].term == 9
    assert seen == {1, 2}


def test_what_was_acknowledged_survives_a_power_cut():  # FAULTS 10
    disk = written_once()
    asyncio.run(TopologyFile(disk, DIRECTORY).compare_and_set(1, SECOND))
    for survival in SURVIVALS:
        image = disk.image().power_cut(survival)
        assert asyncio.run(TopologyFile(CrashDisk(image), DIRECTORY).read()) == SECOND


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_dir"])
def test_a_failed_write_is_raised_and_may_be_done_again(kind):  # FAULTS 5, 7
    disk = written_once()
    store = TopologyFile(disk, DIRECTORY)
    disk.faults.append(Fault(kind, errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        asyncio.run(store.compare_and_set(1, SECOND))
    assert asyncio.run(store.read()) == FIRST
    asyncio.run(store.compare_and_set(1, SECOND))
    assert read_topology(disk, PATH) == SECOND
