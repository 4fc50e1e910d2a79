"""Where the log is synced: on the loop while that is quick, in the thread for ever longer when it is not."""

import errno

import pytest
from support.crash_disk import Fault
from support.disk_image import Node
from support.turn_run import TurnRun, run

from sherd.common.errors import StorePoisoned
from sherd.shard.sync_place import AWAY_SECONDS, AWAY_SECONDS_MAX, QUICK_SECONDS, SMALL_BYTES, SyncPlace

QUICK = QUICK_SECONDS / 2


def away_seconds(place: SyncPlace, now: float) -> float:
    """How long ``place`` now stays away from the loop, to the quarter of a second."""
    quarters = 0
    while not place.is_here(now + quarters / 4, 1):
        quarters += 1
    return quarters / 4


def test_small_quick_syncs_stay_on_the_loop() -> None:
    place = SyncPlace()
    for now in range(1000):
        assert place.is_here(now, SMALL_BYTES)
        place.took(now, QUICK if now % 8 else 2 * QUICK_SECONDS)
    assert not place.is_here(1000, SMALL_BYTES + 1)


def test_one_that_blocks_is_enough_and_it_comes_back_ever_later() -> None:
    place = SyncPlace()
    now, expected = 0.0, AWAY_SECONDS
    for _ in range(9):
        place.took(now, 0.05)
        assert away_seconds(place, now) == expected
        now += expected
        expected = min(2 * expected, AWAY_SECONDS_MAX)
    assert expected == AWAY_SECONDS_MAX


def test_a_disk_that_was_quick_for_long_is_trusted_again() -> None:
    place = SyncPlace()
    now = 0.0
    for _ in range(4):
        place.took(now, 0.05)
        now += away_seconds(place, now)
    for _ in range(40):
        now += AWAY_SECONDS
        place.took(now, QUICK)
    place.took(now, 0.05)
    assert away_seconds(place, now) == AWAY_SECONDS


def test_a_sync_on_the_loop_answers_in_the_same_turn() -> None:
    async def main() -> None:
        async with TurnRun("always", place=SyncPlace()) as turns:
            turns.outlet.ask("put", "a", 1)
            turns.turn.end()
            (reply,) = turns.outlet.replies
            assert turns.core.engine.synced_lsn >= reply.result

    run(main())


def test_nobody_waits_for_the_loop_under_a_policy_that_does_not_wait() -> None:
    async def main() -> None:
        async with TurnRun("interval:1ms", place=SyncPlace()) as turns:
            turns.disk.shut()  # an fsync on the loop would never end
            turns.outlet.ask("put", "a", 1)
            await turns.until(lambda: turns.disk.waiting == 1)
            await turns.answers(turns.outlet, 1)
            turns.disk.open()

    run(main())


def test_a_slow_disk_is_left_to_the_thread() -> None:
    async def main() -> None:
        async with TurnRun("always", place=SyncPlace()) as turns:
            sync_node = turns.disk.sync_node

            def slow(node: Node, path: str) -> None:
                turns.core.clock.advance(0.01)
                sync_node(node, path)

            turns.disk.sync_node = slow  # type: ignore[method-assign]
            turns.outlet.ask("put", "a", 1)
            await turns.answers(turns.outlet, 1)
            turns.disk.shut()
            turns.outlet.ask("put", "a", 2)
            turns.outlet.ask("get", "b")
            await turns.until(lambda: turns.disk.waiting == 1)
            await turns.settle()
            assert turns.outlet.answered == [1, 3], "reads go on while the thread waits"
            turns.disk.open()
            await turns.answers(turns.outlet, 3)

    run(main())


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failed_sync_on_the_loop_is_final(error: int) -> None:
    async def main() -> None:
        async with TurnRun("always", place=SyncPlace()) as turns:
            turns.disk.faults.append(Fault("sync", error, ".wal"))
            turns.outlet.ask("put", "a", 1)
            await turns.settle()
            assert turns.outlet.replies == []
            (poison,) = turns.poisons
            assert isinstance(poison, StorePoisoned)

    run(main())
