"""One connection's core of a shard on a real engine, without sockets: frames in, decoded replies out."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from sherd.common.clock import ManualClock
from sherd.common.limits import Limits
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import LayoutCounter
from sherd.shard.admin import ShardAdmin
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.replies import ReplyGate
from sherd.shard.service import OWED_BYTES_MAX, ServiceConnection, ShardService
from support.crash_disk import CrashDisk
from support.engine_run import open_engine, run_jobs
from support.frames import request

SHARD = 1
SPLIT = b"z"
"""Shard 1 owns the keys below it, shard 2 the rest."""


class Reply:
    """A response: ``error`` is None or ``(code, name, details)``."""

    def __init__(self, frame: list[Any]) -> None:
        kind, self.msgid, error, self.result = frame
        assert kind == 1
        self.error: tuple[int, str, Any] | None = None
        if error is not None:
            self.error = (error[0], error[1].partition(" ")[0], error[2])
            self.text: str = error[1]

    def __repr__(self) -> str:
        return f"Reply({self.msgid}, {self.error}, {self.result!r})"


def decode(data: bytes) -> list[Reply]:
    """The responses in what was sent on a connection."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=2**30)
    unpacker.feed(data)
    return [Reply(frame) for frame in unpacker]


class ShardCore:
    """A service over an engine in a ``CrashDisk``; ``turn`` commits and hands out what every connection gets."""

    def __init__(
        self,
        *,
        disk: CrashDisk | None = None,
        options: EngineOptions | None = None,
        slack: int | None = None,
        limits: Limits | None = None,
        owed_bytes_max: int = OWED_BYTES_MAX,
        in_sync: bool = False,
        in_sync_min: int = 1,
    ) -> None:
        self.disk = disk or CrashDisk()
        self.clock = ManualClock()
        self.options = options or EngineOptions(memtable_bytes=1 << 20)
        self.engine: Engine = open_engine(self.disk, self.options, clock=self.clock)
        self.gate = ReplyGate(slack, self.engine.synced_lsn, in_sync, in_sync_min)
        self.forced: list[tuple[str, Callable[[dict[str, object]], None]]] = []
        self.announced: list[int] = []
        admin = ShardAdmin(
            lambda: {**self.engine.status(), "pid": 7, "version": "test"},
            self.announced.append,
            lambda kind, done: self.forced.append((kind, done)),
        )
        self.layout = range_layout(2, [SPLIT], LayoutCounter(5))
        self.service = ShardService(SHARD, self.engine, self.gate, TokenMap(self.layout), admin, limits or Limits())
        self._owed_bytes_max = owed_bytes_max
        self.connection = self.connect()

    def connect(self) -> ServiceConnection:
        return ServiceConnection(self.service, self._owed_bytes_max)

    def turn(self, connection: ServiceConnection | None = None) -> list[Reply]:
        """End the turn; the replies that leave on ``connection`` (the first one by default)."""
        self.engine.commit()
        wanted = (connection or self.connection).sink
        replies: list[Reply] = []
        for sink in self.gate.take_dirty():
            data = sink.take()
            if sink is wanted:
                replies += decode(data)
        return replies

    def feed_request(self, method: str, *params: object) -> None:
        """Hand in a request, and leave the turn open."""
        self.connection.feed(request(method, *params))

    def feed(self, data: bytes) -> list[Reply]:
        self.connection.feed(data)
        return self.turn()

    def call(self, method: str | bytes, *params: object) -> Any:
        """The result of one request that must not fail."""
        reply = self.ask(method, *params)
        assert reply.error is None, reply.text
        return reply.result

    def ask(self, method: str | bytes, *params: object) -> Reply:
        """The one reply to one request, without a wait for the log to be synced."""
        replies = self.feed(request(method, *params))
        assert len(replies) == 1, replies
        return replies[0]

    def refused(self, method: str | bytes, *params: object) -> str:
        """The error's name, of a request that must fail."""
        reply = self.ask(method, *params)
        assert reply.error is not None, reply.result
        return reply.error[1]

    def sync(self) -> None:
        self.engine.sync()
        self.gate.synced(self.engine.synced_lsn)

    def flush(self) -> None:
        """Move everything into tables."""
        self.engine.request_flush()
        run_jobs(self.engine, self.disk, self.options)


@contextlib.contextmanager
def shard_core(**settings: Any) -> Iterator[ShardCore]:
    core = ShardCore(**settings)
    try:
        yield core
    finally:
        core.engine.close(clean=False)
