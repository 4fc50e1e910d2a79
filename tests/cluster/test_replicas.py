"""Who leads and who is in sync: the coordinator's decisions, against replicas that answer what they are told to."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.crash_disk import CrashDisk
from support.told_replica import Replica, serving

from sherd.cluster.damaged_replica import do_without
from sherd.cluster.membership import Membership
from sherd.cluster.replicas import Replicas
from sherd.cluster.topology_file import TopologyFile
from sherd.cluster.topology_store import topology_of
from sherd.common.net.network import SystemNetwork
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term

ONE = ShardId(1)


async def store_of(state: ShardState) -> TopologyFile:
    disk = CrashDisk()
    disk.mkdir("/data")
    store = TopologyFile(disk, "/data")
    await store.compare_and_set(0, Topology(1, "test", range_layout(1), {ONE: state}))
    return store


async def state_of(store: TopologyFile) -> ShardState:
    return (await topology_of(store)).shards[ONE]


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def three(first: Replica, second: Replica, third: Replica, in_sync: tuple[str, ...] = ("1", "2", "3")) -> ShardState:
    addresses = {"1": first.address, "2": second.address, "3": third.address}
    return ShardState(ONE, Term(4), "1", addresses, in_sync)


def test_the_follower_in_sync_with_the_most_log_leads_and_the_dead_one_waits_for_it(tmp_path: Path) -> None:
    first, second, third = (Replica(tmp_path, name, position=[4, 100, True, True]) for name in "abc")
    third.answers["position"] = [4, 120, True, True]

    async def main() -> None:
        store = await store_of(three(first, second, third))
        async with serving(second, third):
            burial = asyncio.create_task(Replicas(store, SystemNetwork()).bury(ONE, "1"))
            while (await state_of(store)).term == 4:
                await asyncio.sleep(0.01)
            state = await state_of(store)
            assert (state.leader, state.term, state.in_sync) == ("3", 5, ("2", "3"))
            assert (state.predecessors, state.replicas["1"]) == (("1",), "")
            await asyncio.sleep(0.1)
            assert not burial.done()  # its log is still being taken over
            third.answers["position"] = [5, 200, True, True]
            await burial
            assert (await state_of(store)).predecessors == ()

    run(main())


def test_a_successor_that_dies_too_leaves_both_logs_to_the_next(tmp_path: Path) -> None:
    first, second, third = (Replica(tmp_path, name, position=[4, 100, True, True]) for name in "abc")

    async def main() -> None:
        store = await store_of(three(first, second, third))
        async with serving(second, third):
            first_burial = asyncio.create_task(Replicas(store, SystemNetwork()).bury(ONE, "1"))
            while (await state_of(store)).term == 4:
                await asyncio.sleep(0.01)
            leader = (await state_of(store)).leader
            second_burial = asyncio.create_task(Replicas(store, SystemNetwork()).bury(ONE, leader))
            while (await state_of(store)).term == 5:
                await asyncio.sleep(0.01)
            state = await state_of(store)
            assert state.predecessors == ("1", leader)
            begun = await Replicas(store, SystemNetwork()).begin(ONE, state.leader, "unix:/again")
            assert (begun.term, begun.predecessors) == (7, ("1", leader))
            await Replicas(store, SystemNetwork()).begin(ONE, state.leader, state.leader_address)
            (second if state.leader == "2" else third).answers["position"] = [8, 300, True, True]
            await asyncio.gather(first_burial, second_burial)
            assert (await state_of(store)).predecessors == ()

    run(main())


@pytest.mark.parametrize("in_sync", [("1",), ("1", "2", "3")])
def test_without_a_follower_that_can_the_same_one_leads_again(tmp_path: Path, in_sync: tuple[str, ...]) -> None:
    first, second, third = (Replica(tmp_path, name) for name in "abc")

    async def main() -> None:
        store = await store_of(three(first, second, third, in_sync))
        before = await state_of(store)
        await Replicas(store, SystemNetwork()).bury(ONE, "1")  # nobody listens at the others' addresses
        without = {**before.replicas, "1": ""}
        assert (await state_of(store)) == replace(before, replicas=without, revision=before.revision + 1)
        begun = await Replicas(store, SystemNetwork()).begin(ONE, "1", "unix:/new")
        assert (begun.term, begun.leader, begun.leader_address) == (5, "1", "unix:/new")

    run(main())


@pytest.mark.parametrize(
    ("complete", "whole", "damaged", "led", "silent", "leader", "in_sync"),
    [
        (True, True, False, True, True, "2", ("2", "3")),
        (False, True, False, True, False, "1", ("1", "2", "3")),  # it has all of it when it is started again
        (False, True, True, True, False, "2", ("2", "3")),  # it can't be started again
        (False, True, True, True, True, "1", ("1", "2", "3")),  # the third may have more
        (False, False, True, True, False, "1", ("1",)),  # the others' stores were made anew
        (False, False, True, False, False, "2", ("2", "3")),  # as all were
    ],
)
def test_a_successor_has_all_that_was_acknowledged(
    tmp_path: Path,
    complete: bool,
    whole: bool,
    damaged: bool,
    led: bool,
    silent: bool,
    leader: str,
    in_sync: tuple[str, ...],
) -> None:
    first, second = Replica(tmp_path, "a"), Replica(tmp_path, "b", position=[4, 100, complete, whole])
    third = Replica(tmp_path, "c", **({} if silent else {"position": [4, 90, complete, whole]}))

    async def main() -> None:
        store = await store_of(replace(three(first, second, third), led=led))
        async with serving(second, third):
            burying = asyncio.create_task(Replicas(store, SystemNetwork()).bury(ONE, "1", damaged=damaged))
            while (await state_of(store)).leader_address == first.address:
                await asyncio.sleep(0.01)
            state = await state_of(store)
            assert (state.leader, tuple(sorted(state.in_sync))) == (leader, in_sync)
            second.answers["position"] = [5, 100, True, True]  # it leads, and has taken over
            await burying

    run(main())


def test_a_dead_follower_is_not_in_sync(tmp_path: Path) -> None:
    first, second, third = (Replica(tmp_path, name) for name in "abc")

    async def main() -> None:
        store = await store_of(three(first, second, third))
        await Replicas(store, SystemNetwork()).bury(ONE, "2")
        state = await state_of(store)
        assert (state.in_sync, state.leader, state.term, state.replicas["2"]) == (("1", "3"), "1", 4, "")
        await Replicas(store, SystemNetwork()).until_taken_over(ONE, "2")
        begun = await Replicas(store, SystemNetwork()).begin(ONE, "2", "unix:/new")
        assert (begun.term, begun.in_sync, begun.replicas["2"]) == (4, ("1", "3"), "unix:/new")

    run(main())


def test_who_has_everything_is_admitted_and_who_is_lost_is_not_in_sync(tmp_path: Path) -> None:
    fine = {"pid": 7, "heard_seconds_ago": 0.1, "lag_seconds": 0.0}
    lost = {"pid": 7, "heard_seconds_ago": 9.0, "lag_seconds": 0.0}
    leader = Replica(tmp_path, "a", followers={"2": fine, "3": lost}, admit=False)
    others = Replica(tmp_path, "b"), Replica(tmp_path, "c")

    async def main() -> None:
        store = await store_of(three(leader, *others, in_sync=("1", "3")))
        async with serving(leader):
            membership = asyncio.create_task(Membership(store, SystemNetwork()).run())
            while (await state_of(store)).in_sync != ("1",):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            assert (await state_of(store)).in_sync == ("1",)  # it was not admitted yet
            leader.answers["admit"] = True
            while (await state_of(store)).in_sync != ("1", "2"):
                await asyncio.sleep(0.01)
            revision = next(asked[2] for asked in reversed(leader.asked) if asked[0] == "admit")
            assert revision == (await state_of(store)).revision - 1
            leader.answers["followers"] = {"2": {"pid": 7, "heard_seconds_ago": 0.1, "lag_seconds": 60.0}}
            while (await state_of(store)).in_sync != ("1",):
                await asyncio.sleep(0.01)
            membership.cancel()

    run(main())


def test_a_follower_that_is_lost_before_it_is_in_sync_is_waited_for_no_longer(tmp_path: Path) -> None:
    leader, second, third = (Replica(tmp_path, name) for name in "abc")
    told = {"pid": 7, "heard_seconds_ago": 9.0, "lag_seconds": 0.0, "awaited": True}

    async def main() -> None:
        before = three(leader, second, third, ("1",))
        store = await store_of(before)
        async with serving(leader):
            for awaited, revision in ((True, 1), (True, 2), (False, 2)):
                leader.answers["followers"] = {"2": {**told, "awaited": awaited}}
                await Membership(store, SystemNetwork()).look()
                assert await state_of(store) == replace(before, revision=revision)
        assert all(asked == ["followers"] for asked in leader.asked)

    run(main())


def test_a_follower_without_a_process_is_not_admitted(tmp_path: Path) -> None:
    leader, second, third = (Replica(tmp_path, name) for name in "abc")
    leader.answers = {"followers": {"2": {"pid": 7, "heard_seconds_ago": 0.1, "lag_seconds": 0.0}}, "admit": True}

    async def main() -> None:
        state = three(leader, second, third, ("1",))
        store = await store_of(replace(state, replicas={**state.replicas, "2": ""}))
        async with serving(leader):
            await Membership(store, SystemNetwork()).look()
        assert (await state_of(store)).in_sync == ("1",)
        assert leader.asked == [["followers"]]

    run(main())


def test_an_admission_is_void_when_the_state_has_changed_meanwhile(tmp_path: Path) -> None:
    leader = Replica(tmp_path, "a", followers={"2": {"pid": 7, "heard_seconds_ago": 0.1, "lag_seconds": 0.0}})
    others = Replica(tmp_path, "b"), Replica(tmp_path, "c")

    async def main() -> None:
        state = three(leader, *others, in_sync=("1",))
        store = await store_of(state)
        membership = Membership(store, SystemNetwork())
        seen = await state_of(store)
        topology = await topology_of(store)
        await store.compare_and_set(topology.version, topology.with_shard(replace(state, term=Term(5))))
        await membership._set(seen, "2", True, "it was admitted at another revision")
        assert (await state_of(store)).in_sync == ("1",)

    run(main())


def test_a_follower_that_is_to_begin_anew_is_not_in_sync_until_its_leader_admits_it(tmp_path: Path) -> None:
    told = {"pid": 7, "heard_seconds_ago": 0.1, "lag_seconds": 0.0, "rebuild": True}
    leader = Replica(tmp_path, "a", followers={"2": told}, admit=False)
    others = Replica(tmp_path, "b"), Replica(tmp_path, "c")

    async def main() -> None:
        store = await store_of(three(leader, *others, in_sync=("1", "2")))
        async with serving(leader):
            membership = asyncio.create_task(Membership(store, SystemNetwork()).run())
            while (await state_of(store)).in_sync != ("1",):
                await asyncio.sleep(0.01)
            leader.answers |= {"followers": {"2": {**told, "rebuild": False}}, "admit": True}
            while (await state_of(store)).in_sync != ("1", "2"):
                await asyncio.sleep(0.01)
            membership.cancel()

    run(main())


def test_a_damaged_follower_is_done_without(tmp_path: Path) -> None:
    replicas = [Replica(tmp_path, name) for name in "abc"]

    async def main() -> None:
        store = await store_of(three(*replicas))
        assert await do_without(store, Replicas(store, SystemNetwork()), ONE, "2", 0.0)
        assert (await state_of(store)).in_sync == ("1", "3")

    run(main())


def test_a_damaged_leader_is_done_without_once_a_successor_answers(tmp_path: Path) -> None:
    first, second, third = (Replica(tmp_path, name, position=[5, 100, True, True]) for name in "abc")

    async def main() -> None:
        store = await store_of(three(first, second, third, in_sync=("1", "2")))
        waiting = asyncio.create_task(do_without(store, Replicas(store, SystemNetwork()), ONE, "1", 10.0))
        await asyncio.sleep(0.1)
        assert not waiting.done()  # nobody serves yet
        async with serving(second):
            assert await waiting
        state = await state_of(store)
        assert (state.leader, state.in_sync, state.predecessors) == ("2", ("2",), ())

    run(main())


@pytest.mark.parametrize("in_sync", [("1",), ("1", "2")])
def test_a_damaged_leader_that_nobody_can_succeed_is_not_given_up(tmp_path: Path, in_sync: tuple[str, ...]) -> None:
    replicas = [Replica(tmp_path, name) for name in "abc"]

    async def main() -> None:
        store = await store_of(three(*replicas, in_sync))
        assert not await do_without(store, Replicas(store, SystemNetwork()), ONE, "1", 0.3)
        state = await state_of(store)
        assert (state.leader, state.in_sync) == ("1", in_sync)

    run(main())
