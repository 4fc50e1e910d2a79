"""A follower against a leader that answers what it is told to: how old its state is, and how often it asks."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, TINY, seeded_bytes

from sherd.common.clock import ManualClock
from sherd.common.world import system_world
from sherd.shard.lsm.engine import Engine
from sherd.shard.replication.follower import HURRY_SECONDS, HURRY_WAIT_MS_MIN, WAIT_MS, Follower
from sherd.shard.replication.messages import NOTHING, Answer, LeaderState

pytestmark = pytest.mark.core


class Leader:
    """Takes ``answer_seconds`` of the clock for each pull, and then says that there is nothing new."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.answer_seconds = 0.4
        self.last_lsn = 0
        self.time_ms = 1
        self.breaks = False
        self.waits: list[int] = []
        self.go_on = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unpacker = msgpack.Unpacker()
        try:
            while data := await reader.read(1 << 16):
                unpacker.feed(data)
                for _, msgid, method, params in unpacker:
                    writer.write(msgpack.packb([1, msgid, None, await self.answer_to(method, params)]))
        except ConnectionError:
            self.breaks = False
        finally:
            writer.close()

    async def answer_to(self, method: str, params: list[Any]) -> Any:
        if method != "pull":
            return {"shard": 1}
        self.waits.append(params[2])
        await self.go_on.wait()
        self.go_on.clear()
        if self.breaks:
            raise ConnectionError("told to break")
        self.clock.advance(self.answer_seconds)
        return Answer(NOTHING, LeaderState(1, self.last_lsn, self.time_ms, 0)).encode()

    async def answer(self) -> None:
        """Let a pull be answered, and wait for the next."""
        asked = len(self.waits)
        self.go_on.set()
        while len(self.waits) == asked:
            await asyncio.sleep(0.001)


def against_leader(folder: Path, work: Callable[[Leader, Follower, Engine], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        clock = ManualClock()
        leader = Leader(clock)
        server = await asyncio.start_unix_server(leader.serve, folder / "leader")
        world = replace(system_world(), disk=CrashDisk(), clock=clock)
        engine = Engine.open(DIRECTORY, TINY, world.disk, clock, random=seeded_bytes(9), follow=True)
        follower = Follower(engine, "2", 1, lambda: f"unix:{folder}/leader", lambda: None, world)
        task = asyncio.create_task(follower.run())
        try:
            while not leader.waits:
                await asyncio.sleep(0.001)
            await work(leader, follower, engine)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            server.close()
            engine.close(clean=False)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_state_is_as_old_as_the_question_it_answers(tmp_path: Path) -> None:
    async def work(leader: Leader, follower: Follower, engine: Engine) -> None:
        assert follower.caught_up_at == float("-inf")
        asked_at = leader.clock.monotonic()
        await leader.answer()
        assert follower.caught_up_at == asked_at
        assert leader.clock.monotonic() == pytest.approx(asked_at + 0.4)
        leader.last_lsn = engine.last_lsn + 1
        await leader.answer()
        assert follower.caught_up_at == asked_at  # it lacks something now
        leader.last_lsn = engine.last_lsn
        await leader.answer()
        assert follower.caught_up_at == pytest.approx(asked_at + 0.8)

    against_leader(tmp_path, work)


def test_nothing_is_flushed_before_the_leader_has_said_that_it_has_it_all(tmp_path: Path) -> None:
    async def work(leader: Leader, follower: Follower, engine: Engine) -> None:
        assert engine.upkeep.flushes_held
        await leader.answer()
        assert not engine.upkeep.flushes_held
        leader.breaks = True
        await leader.answer()
        assert engine.upkeep.flushes_held

    against_leader(tmp_path, work)


def test_the_leader_is_asked_more_often_as_long_as_somebody_needs_it(tmp_path: Path) -> None:
    async def work(leader: Leader, follower: Follower, engine: Engine) -> None:
        follower.hurry(0.2)
        follower.hurry(5.0)
        await leader.answer()
        follower.hurry(0.001)
        await leader.answer()
        leader.answer_seconds = HURRY_SECONDS
        await leader.answer()
        follower.hurry(10.0)
        await leader.answer()
        assert leader.waits == [WAIT_MS, 50, HURRY_WAIT_MS_MIN, WAIT_MS, WAIT_MS]

    against_leader(tmp_path, work)


def test_the_leaders_time_is_taken_over(tmp_path: Path) -> None:
    async def work(leader: Leader, follower: Follower, engine: Engine) -> None:
        leader.time_ms = engine.now_ms() + 1_000_000
        await leader.answer()
        assert engine.now_ms() == leader.time_ms

    against_leader(tmp_path, work)
