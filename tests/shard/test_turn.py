"""The end of a turn on a real loop: nothing leaves before its commit, nothing held is forgotten, poison is final."""

import asyncio
import errno
import random

import pytest
from support.crash_disk import Fault
from support.engine_run import DIRECTORY, NOTHING, TINY, open_engine
from support.turn_run import GatedDisk, TurnRun, run

from sherd.common.errors import StoreCorrupt, StorePoisoned

POLICIES = ["always", "ops:5", "interval:5ms", "os"]


@pytest.mark.parametrize("policy", ["always", "ops:3", "interval:3600s", "os"])
def test_which_replies_wait_for_the_fsync(policy: str) -> None:
    free = {"always": 0, "ops:3": 3}.get(policy, 5)

    async def main() -> None:
        async with TurnRun(policy) as run:
            run.disk.shut()
            writers = [run.connect() for _ in range(5)]
            for number, writer in enumerate(writers):
                writer.ask("put", f"k{number}", number)
            run.outlet.ask("ping")
            await run.answers(run.outlet, 1)
            await run.settle()
            assert [len(writer.replies) for writer in writers] == [1] * free + [0] * (5 - free)
            run.disk.open()
            for writer in writers:
                await run.answers(writer, 1)

    run(main())


@pytest.mark.parametrize("policy", ["ops:1000", "interval:3600s", "os"])
def test_sync_on_one_request_has_it_wait_for_an_fsync_of_its_own(policy: str) -> None:
    async def main() -> None:
        async with TurnRun(policy) as run:
            run.disk.shut()
            run.outlet.ask("put", "a", 1, {"sync": True})
            other = run.connect()
            other.ask("put", "b", 1)
            await run.answers(other, 1)
            await run.until(lambda: run.disk.waiting == 1)
            assert run.outlet.replies == []
            run.disk.open()
            (reply,) = await run.answers(run.outlet, 1)
            assert run.core.engine.synced_lsn >= reply.result

    run(main())


def test_one_fsync_serves_all_that_wait_and_the_next_all_that_came_meanwhile() -> None:
    async def main() -> None:
        async with TurnRun("always") as run:
            run.disk.shut()
            run.outlet.ask("put", "a", 0)
            await run.until(lambda: run.disk.waiting == 1)
            before = len(run.disk.operations)
            for number in range(100):
                run.outlet.ask("put", "a", number)
                await asyncio.sleep(0)
            run.disk.open()
            await run.answers(run.outlet, 101)
            assert sum(operation.kind == "sync" for operation in run.disk.operations[before:]) == 2

    run(main())


def test_interval_syncs_by_itself_and_rests_when_there_is_nothing() -> None:
    async def main() -> None:
        async with TurnRun("interval:2ms") as run:
            run.outlet.ask("put", "a", 1)
            (reply,) = await run.answers(run.outlet, 1)
            await run.until(lambda: run.core.engine.synced_lsn == reply.result)
            before = len(run.disk.operations)
            await asyncio.sleep(0.02)
            assert len(run.disk.operations) == before

    run(main())


@pytest.mark.parametrize("policy", ["ops:1000", "interval:3600s", "os"])
def test_a_sync_that_ends_amid_a_turn_sends_nothing_that_is_not_written(policy: str) -> None:
    async def main() -> None:
        async with TurnRun(policy) as run:
            run.disk.shut()
            run.outlet.ask("put", "a", 1, {"sync": True})
            await run.until(lambda: run.disk.waiting == 1)
            other = run.connect()
            other.connection.feed(b"\x94\x00\x01\xa3put\x92\xa1b\x01")  # and the end of the turn is not yet there
            assert run.core.engine.staged
            run.disk.open()
            await run.answers(run.outlet, 1)  # the outlet checks that nothing is staged when it is called
            assert len(other.replies) == 1

    run(main())


@pytest.mark.parametrize("policy", POLICIES)
def test_random_turns_keep_every_promise_and_forget_nobody(policy: str) -> None:
    dice = random.Random(policy)

    async def main() -> None:
        async with TurnRun(policy, idle_seconds=0.003) as run:
            engine, outlets = run.core.engine, [run.connect() for _ in range(4)]
            asked: dict[int, int] = {}
            for step in range(600):
                outlet = dice.choice(outlets)
                asked[id(outlet)] = outlet.ask(*dice.choice(_requests(dice, step)))
                run.core.gate.write_delay_seconds = dice.choice([0.0, 0.0, 0.0, 0.0005])
                if dice.random() < 0.1:
                    run.disk.shut()
                if dice.random() < 0.3:
                    run.disk.open()
                if dice.random() < 0.3:
                    await asyncio.sleep(dice.choice([0, 0, 0.001]))
                _check_promises(run, outlets, engine.written_lsn, engine.synced_lsn)
            run.disk.open()
            for outlet in outlets:
                await run.answers(outlet, asked[id(outlet)])
                assert sorted(outlet.answered) == list(range(1, asked[id(outlet)] + 1))

    run(main())


def _requests(dice: random.Random, step: int) -> list[tuple[object, ...]]:
    key = f"k{dice.randrange(5)}"
    return [
        ("put", key, step),
        ("put", key, step, {"sync": True}),
        ("put", key, step, {"if_version": 0}),
        ("delete", key),
        ("get", key),
        ("batch", [["put", key, step], ["delete", "none"]]),
        ("count_slice", None, None),
    ]


def _check_promises(run: TurnRun, outlets: list, written: int, synced: int) -> None:
    slack = {"always": 0, "ops": run.policy.ops}.get(run.policy.mode, 1 << 62)
    for outlet in outlets:
        for reply in outlet.replies:
            version = reply.result
            if isinstance(version, int) and not isinstance(version, bool) and version > 1 << 32:
                assert version <= written
                assert version <= synced + slack


# -- poison ----------------------------------------------------------------------------------------------------------


def test_a_failed_fsync_lets_nothing_leave(caplog: pytest.LogCaptureFixture) -> None:  # FAULTS 5
    async def main() -> None:
        async with TurnRun("always") as run:
            run.disk.faults.append(Fault("sync", errno.EIO, ".wal", after=1))
            run.outlet.ask("put", "a", 1)
            await run.answers(run.outlet, 1)
            run.outlet.ask("put", "b", 2)
            run.outlet.ask("get", "b")
            await run.until(lambda: bool(run.poisons))
            syncs = sum(operation.kind == "sync" for operation in run.disk.operations)
            other = run.connect()
            for outlet in (run.outlet, other):
                outlet.ask("get", "a")
                outlet.ask("ping")
            await run.settle()
            await run.turn.stop()
            assert (run.outlet.answered, other.answered) == ([1], [])
            assert [type(error) for error in run.poisons] == [StorePoisoned]
            assert sum(operation.kind == "sync" for operation in run.disk.operations) == syncs  # never tried again
            engine = open_engine(GatedDisk(run.disk.image().power_cut(NOTHING, 0)), run.core.options)
            found = engine.get(b"a")
            assert found is not None
            assert found.value == b"\x01"
            engine.close()

    run(main())
    assert "nothing more is answered" in caplog.text


@pytest.mark.parametrize("policy", POLICIES)
def test_a_failed_write_lets_nothing_leave(policy: str) -> None:  # FAULTS 5, 8
    async def main() -> None:
        async with TurnRun(policy) as run:
            run.outlet.ask("put", "a", 1)
            await run.answers(run.outlet, 1)
            run.disk.faults.append(Fault("write", errno.EIO, ".wal", short_bytes=20))
            run.outlet.ask("put", "b", 2)
            other = run.connect()
            other.ask("get", "a")
            other.ask("ping")
            await run.until(lambda: bool(run.poisons))
            run.outlet.ask("get", "a")
            await run.settle()
            assert run.outlet.answered == [1]
            assert other.answered == []
            assert len(run.poisons) == 1

    run(main())


def test_an_engine_that_goes_down_with_nothing_staged_is_noticed() -> None:
    async def main() -> None:
        async with TurnRun("os", options=TINY) as run:
            run.disk.faults.append(Fault("allocate", errno.EIO, ".tmp"))
            count = 0
            while not run.poisons:  # until the log rolls; nobody has prepared a segment
                run.outlet.ask("put", f"k{count}", b"v" * 1000)
                count += 1
                await asyncio.sleep(0)
            assert len(run.outlet.replies) < count
            assert len(run.poisons) == 1

    run(main())


# -- back-pressure, rest, and stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["always", "os"])
def test_delayed_writes_leave_later_and_hold_up_nobody(policy: str) -> None:
    async def main() -> None:
        async with TurnRun(policy) as run:
            run.core.gate.write_delay_seconds = 0.05
            started = asyncio.get_running_loop().time()
            run.outlet.ask("put", "a", 1)
            run.outlet.ask("put", "b", 1)
            reader = run.connect()
            reader.ask("get", "c")
            await run.answers(reader, 1)
            assert run.outlet.replies == []
            run.core.gate.write_delay_seconds = 0.0
            await run.answers(run.outlet, 2)
            assert asyncio.get_running_loop().time() - started > 0.04
            assert run.core.gate.delayed() == 0

    run(main())


@pytest.mark.parametrize("policy", ["always", "ops:1000", "interval:3600s", "os"])
def test_at_rest_the_last_group_is_covered(policy: str) -> None:  # FAULTS 3
    async def main() -> None:
        async with TurnRun(policy, idle_seconds=0.005) as run:
            run.outlet.ask("put", "a", b"value-to-damage")
            (reply,) = await run.answers(run.outlet, 1)
            wal = run.core.engine.wal
            operations = run.disk.operations
            await run.until(lambda: wal.header_synced_lsn >= reply.result and operations[-1].kind == "sync")
            before = len(run.disk.operations)
            await asyncio.sleep(0.03)
            assert len(run.disk.operations) == before  # once is enough
            disk = GatedDisk(run.disk.image().power_cut(NOTHING, 0))
            (path,) = (name for name in disk.files(DIRECTORY) if b"value-to-damage" in disk.read(name))
            disk.replace(path, disk.read(path).replace(b"value-to-damage", b"value-to-dam\x00ge"))
            with pytest.raises(StoreCorrupt):
                open_engine(disk, run.core.options)

    run(main())


def test_a_log_that_rolls_is_synced_under_every_policy() -> None:
    async def main() -> None:
        async with TurnRun("os", options=TINY) as run:
            first = run.core.engine.segment
            before = len(run.disk.operations)
            count = 0
            while run.core.engine.segment == first:
                run.outlet.ask("put", f"k{count}", b"v" * 1000)
                count += 1
                await run.answers(run.outlet, count)
            synced = f"{first:06}.wal"
            await run.until(
                lambda: any(op.kind == "sync" and op.path.endswith(synced) for op in run.disk.operations[before:])
            )

    run(main())


@pytest.mark.parametrize("policy", POLICIES)
def test_stop_releases_everything_and_leaves_nothing_unsynced(policy: str) -> None:
    async def main() -> None:
        async with TurnRun(policy) as run:
            run.core.gate.write_delay_seconds = 3600.0
            run.outlet.ask("put", "a", 1)
            await run.settle()
            run.core.gate.write_delay_seconds = 0.0
            run.disk.shut()
            for number in range(10):
                run.outlet.ask("put", "b", number, {"sync": True})
            run.outlet.ask("get", "a")
            asyncio.get_running_loop().call_later(0.01, run.disk.open)
            await run.turn.stop()
            assert sorted(run.outlet.answered) == list(range(1, 13))
            engine = run.core.engine
            assert engine.last_lsn == engine.written_lsn == engine.synced_lsn

    run(main())
