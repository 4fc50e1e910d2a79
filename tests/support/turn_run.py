"""A shard's turns on a real event loop and a disk whose fsyncs wait for a sign: who gets which reply, and when."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Self

from sherd.common.errors import StoreError
from sherd.common.net.loop import loop_factory
from sherd.common.world import system_world
from sherd.shard.lsm.options import EngineOptions, FsyncPolicy
from sherd.shard.service import ServiceConnection
from sherd.shard.sync_place import SyncPlace
from sherd.shard.turn import Turn, gate_slack
from support.crash_disk import CrashDisk
from support.disk_image import Image, Node
from support.frames import pack, request
from support.shard_core import Reply, ShardCore, decode

PATIENCE_SECONDS = 20.0


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test on the kind of loop that a shard uses."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(asyncio.wait_for(main, PATIENCE_SECONDS))


class GatedDisk(CrashDisk):
    """Once ``shut`` was called, an fsync of the log waits for ``open``; ``waiting`` counts those that do."""

    def __init__(self, image: Image | None = None) -> None:
        super().__init__(image)
        self._gate = threading.Event()
        self._gate.set()
        self.waiting = 0

    def shut(self) -> None:
        self._gate.clear()

    def open(self) -> None:
        self._gate.set()

    def sync_node(self, node: Node, path: str) -> None:
        if path.endswith(".wal"):
            self.waiting += 1
            if not self._gate.wait(PATIENCE_SECONDS):
                raise TimeoutError("nobody opened the gate")
            self.waiting -= 1
        super().sync_node(node, path)


class Outlet:
    """Takes what leaves on one connection, and notes if it may not: all that was staged has to be written by then."""

    def __init__(self, turns: "TurnRun", connection: ServiceConnection) -> None:
        self._turns = turns
        self.connection = connection
        self.replies: list[Reply] = []
        self._next = 0
        connection.sink.outlet = self

    def send(self, data: bytes) -> None:
        if self._turns.core.engine.staged:
            self._turns.early.append(data)
        self.replies += decode(data)
        self._turns.changed.set()

    def ask(self, method: str, *params: object) -> int:
        """A request comes in; its msgid."""
        self._next += 1
        self.connection.feed(request(method, *params, msgid=pack(self._next)))
        self._turns.turn.schedule()
        return self._next

    @property
    def answered(self) -> list[int]:
        return [reply.msgid for reply in self.replies]


class TurnRun:
    """An engine, its gate and its turns under one fsync policy. ``async with`` it."""

    def __init__(
        self,
        fsync: str,
        *,
        options: EngineOptions | None = None,
        idle_seconds: float = 3600.0,
        place: SyncPlace | None = None,
    ) -> None:
        self.disk = GatedDisk()
        options = replace(options or EngineOptions(memtable_bytes=1 << 20), fsync=fsync)
        self.policy = FsyncPolicy.parse(fsync)
        self.core = ShardCore(disk=self.disk, options=options, slack=gate_slack(self.policy))
        self.poisons: list[StoreError] = []
        self.early: list[bytes] = []
        """What left before its commit; there must be nothing."""
        self._idle_seconds = idle_seconds
        self._place = place

    async def __aenter__(self) -> Self:
        self.changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        core = self.core
        self.turn = Turn(
            core.engine,
            core.gate,
            self.policy,
            loop,
            self._after_commit,
            self.poisons.append,
            replace(system_world(), clock=core.clock),
            self._place,
            self._idle_seconds,
        )
        self.turn.start()
        self.outlet = self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.disk.open()
        await self.turn.stop()
        self.core.engine.close(clean=False)
        assert self.early == []

    def connect(self) -> Outlet:
        return Outlet(self, self.core.connect())

    def _after_commit(self) -> None:
        self.changed.set()

    async def answers(self, outlet: Outlet, count: int) -> list[Reply]:
        """The first ``count`` replies, once they have left."""
        while len(outlet.replies) < count:
            self.changed.clear()
            await self.changed.wait()
        return outlet.replies[:count]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what a thread or a timer does."""
        while not condition():
            await asyncio.sleep(0.001)

    async def settle(self) -> None:
        """Let everything that is due happen."""
        for _ in range(10):
            await asyncio.sleep(0)
