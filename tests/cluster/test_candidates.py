"""Whom an election or a handing over would choose, by what replicas say of their logs."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.crash_disk import CrashDisk
from support.told_replica import Replica, serving

from sherd.cluster import handover
from sherd.cluster.candidates import (
    ASK_SECONDS,
    LogPosition,
    electable,
    longest,
    longest_log,
    may_elect,
    positions_of,
)
from sherd.cluster.handover import force, hand_over
from sherd.cluster.topology_file import TopologyFile
from sherd.common.errors import BadRequest, NotLeader, Unavailable
from sherd.common.net.network import SystemNetwork
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term

NETWORK = SystemNetwork()
COMPLETE, MAYBE_NOT = True, False


def position(term: int, last_lsn: int, complete: bool = COMPLETE, whole: bool = True) -> LogPosition:
    return LogPosition(term, last_lsn, complete, whole)


def led_by_1(*replicas: Replica) -> ShardState:
    addresses = {str(number): replica.address for number, replica in enumerate(replicas, 1)}
    return ShardState(ShardId(1), Term(4), "1", addresses, tuple(addresses), led=True)


def three(tmp_path: Path, *positions: list[Any] | None) -> list[Replica]:
    """Replicas with these positions; None for one that does not say."""
    return [
        Replica(tmp_path, str(number), **({} if told is None else {"position": told}))
        for number, told in enumerate(positions, 1)
    ]


@pytest.mark.parametrize(
    ("positions", "name"),
    [
        ({"1": position(4, 9), "2": position(4, 7), "3": position(4, 8)}, "1"),
        ({"1": position(3, 99), "2": position(4, 7), "3": position(4, 8)}, "3"),
        ({"1": position(4, 9), "2": position(4, 9)}, "2"),  # why it does not lead any more is not known
        ({"1": position(4, 9, COMPLETE), "2": position(4, 9, MAYBE_NOT)}, "1"),
        ({"2": position(4, 9), "3": position(4, 9)}, "3"),
    ],
)
def test_the_longest_log_of_the_latest_term_leads(tmp_path: Path, positions: dict[str, LogPosition], name: str) -> None:
    assert longest(led_by_1(*three(tmp_path, None, None, None)), positions) == name


@pytest.mark.parametrize(
    ("positions", "enough"),
    [
        ({}, False),
        ({"2": position(4, 9)}, True),
        ({"2": position(4, 9, MAYBE_NOT)}, False),
        ({"2": position(4, 9, MAYBE_NOT), "3": position(4, 3)}, True),
        ({name: position(4, 9, MAYBE_NOT) for name in ("1", "2", "3")}, True),
    ],
)
def test_one_complete_log_is_enough_or_all_of_them(
    tmp_path: Path, positions: dict[str, LogPosition], enough: bool
) -> None:
    assert may_elect(led_by_1(*three(tmp_path, None, None, None)), positions) is enough


def asked(tmp_path: Path, *positions: list[Any] | None) -> tuple[dict[str, LogPosition], float]:
    """What was found out, and how many seconds it took."""
    replicas = three(tmp_path, *positions)

    async def main() -> tuple[dict[str, LogPosition], float]:
        async with serving(*replicas):
            began = time.monotonic()
            found = await positions_of(NETWORK, led_by_1(*replicas), "123")
            return found, time.monotonic() - began

    return asyncio.run(main())


def test_one_that_is_silent_is_not_waited_for_if_the_others_will_do(tmp_path: Path) -> None:
    found, seconds = asked(tmp_path, None, [4, 9, True, True], [4, 8, False, True])
    assert found == {"2": position(4, 9), "3": position(4, 8, MAYBE_NOT)}
    assert seconds < ASK_SECONDS


def test_one_that_is_silent_is_waited_for_if_it_is_needed(tmp_path: Path) -> None:
    found, seconds = asked(tmp_path, None, [4, 9, False, True], [4, 8, False, True])
    assert found == {"2": position(4, 9, MAYBE_NOT), "3": position(4, 8, MAYBE_NOT)}
    assert seconds >= ASK_SECONDS * 0.99


def test_other_versions_say_more_or_less(tmp_path: Path) -> None:
    found, _ = asked(tmp_path, [4, 9, True, True, "more"], "nonsense", [4, 9, True])
    assert found == {"1": position(4, 9), "3": position(4, 9)}


def test_one_that_has_led_is_passed_over_when_it_hands_over(tmp_path: Path) -> None:
    replicas = three(tmp_path, [4, 99, True, True], [4, 7, True, True], [4, 8, True, True])

    async def main() -> None:
        async with serving(*replicas):
            assert await longest_log(NETWORK, led_by_1(*replicas), "1", complete=True) == "3"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("positions", "names"),
    [
        ({"1": position(4, 9), "2": position(0, 0, MAYBE_NOT, whole=False)}, {"1"}),
        ({"2": position(0, 0, MAYBE_NOT, whole=False)}, set()),
        ({"2": position(4, 9, MAYBE_NOT)}, {"2"}),
    ],
)
def test_a_store_that_was_made_anew_is_not_elected_once_the_shard_was_led(
    tmp_path: Path, positions: dict[str, LogPosition], names: set[str]
) -> None:
    state = led_by_1(*three(tmp_path, None, None, None))
    assert electable(state, positions).keys() == names
    assert electable(replace(state, led=False), positions) == positions


async def store_of(state: ShardState) -> TopologyFile:
    disk = CrashDisk()
    disk.mkdir("/data")
    store = TopologyFile(disk, "/data")
    await store.compare_and_set(0, Topology(1, "test", range_layout(1), {state.id: state}))
    return store


@pytest.mark.parametrize(
    ("old", "new", "handed_over"),
    [
        ([4, 8, True, True], [4, 8, True, True], True),
        ([4, 9, True, True], [4, 8, True, True], False),  # it has lost its lease instead, with more in its log
        ([3, 8, True, True], [4, 8, True, True], False),  # it does not lead yet
        ([4, 8, False, True], [4, 8, False, True], False),  # both have lost something
    ],
)
def test_a_leader_whose_last_answer_was_lost_has_handed_over_if_its_successor_has_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: list[Any], new: list[Any], handed_over: bool
) -> None:
    monkeypatch.setattr(handover, "SECONDS_MAX", 0.1)
    leader = Replica(tmp_path, "1", followers=NotLeader("not this one"), position=old)
    follower = Replica(tmp_path, "2", position=new)
    promoted: list[str] = []

    async def promote(seen: ShardState, successor: str, in_sync: tuple[str, ...]) -> ShardState:
        promoted.append(successor)
        return seen

    async def main() -> None:
        store = await store_of(led_by_1(leader, follower))
        async with serving(leader, follower):
            if handed_over:
                await hand_over(store, NETWORK, promote, 1, "2")
            else:
                with pytest.raises(Unavailable, match="did not catch up"):
                    await hand_over(store, NETWORK, promote, 1, "2")

    asyncio.run(main())
    assert leader.asked[0] == ["hand_over", "2", 4]
    assert promoted == (["2"] if handed_over else [])


@pytest.mark.parametrize(
    ("leased", "followers", "told", "may"),
    [
        (True, NotLeader("not this one"), [4, 8, True, True], True),
        (True, {}, [4, 8, True, True], False),
        (False, NotLeader("not this one"), [4, 8, True, True], False),  # it may be about to lead
        (False, NotLeader("not this one"), [0, 0, False, False], True),  # it will not, with a store made anew
    ],
)
def test_force_is_for_a_shard_that_nobody_leads(
    tmp_path: Path, leased: bool, followers: Any, told: list[Any], may: bool
) -> None:
    leader = Replica(tmp_path, "1", followers=followers, position=told)
    follower = Replica(tmp_path, "2", position=[4, 3, False, True])

    async def promote(seen: ShardState, successor: str, in_sync: tuple[str, ...]) -> ShardState:
        return replace(seen, leader=successor, in_sync=in_sync)

    async def main() -> None:
        store = await store_of(led_by_1(leader, follower))
        async with serving(leader, follower):
            if may:
                assert (await force(store, NETWORK, promote, 1, "2", leased=leased)).leader == "2"
            else:
                with pytest.raises(BadRequest, match="leads shard 1, or may"):
                    await force(store, NETWORK, promote, 1, "2", leased=leased)

    asyncio.run(main())
