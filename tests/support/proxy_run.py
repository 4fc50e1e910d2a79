"""A proxy in this process, its shards, and raw clients; for tests that drive the real listener."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from sherd.common.limits import Limits
from sherd.common.net.address import parse_address
from sherd.common.net.loop import loop_factory
from sherd.common.topology.file import encode_topology
from sherd.common.topology.layout import Layout
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.ring import ring_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.topology.token_map import TokenMap
from sherd.common.topology.watched_file import WatchedTopology
from sherd.common.types import ShardId, Term
from sherd.common.wire.encode import request
from sherd.common.world import system_world
from sherd.proxy.bounds import Bounds
from sherd.proxy.config import ProxyConfig
from sherd.proxy.main import Proxy
from support.dict_shard import DictShard

WAIT_S = 20.0
DRIVE_S = 90.0


def make_layout(mode: str, shards: int) -> Layout:
    if mode == "range":
        return range_layout(shards)
    return ring_layout("test", {ShardId(shard): 1.0 for shard in range(1, shards + 1)})


class RawClient:
    """Sends any bytes and takes responses as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=2**30)
        self._next = 0

    async def response(self) -> list[object]:
        """The next response; EOFError when the connection is closed."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for found in self._unpacker:
                    assert isinstance(found, list)
                    return found
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError
                self._unpacker.feed(data)

    def send(self, method: str, *params: object) -> int:
        self._next += 1
        self.writer.write(request(self._next, method, params))
        return self._next

    async def call(self, method: str, *params: object) -> object:
        """The result; the wire error as a list where there is one."""
        msgid = self.send(method, *params)
        kind, answered, error, result = await self.response()
        assert (kind, answered) == (1, msgid)
        return result if error is None else ["error", error]

    async def closed(self) -> bool:
        """Wait for the end of the connection."""
        async with asyncio.timeout(WAIT_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
        return True

    async def close(self) -> None:
        """Close, and wait until it is."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass
class Cluster:
    """Dict shards, and a proxy before them. ``topology`` is what the file says; ``publish`` changes it."""

    folder: Path
    mode: str = "hash"
    count: int = 3
    limits: Limits = field(default_factory=Limits)
    bounds: Bounds = field(default_factory=Bounds)
    shards: dict[int, DictShard] = field(default_factory=dict)
    clients: list[RawClient] = field(default_factory=list)

    async def __aenter__(self) -> "Cluster":
        self._stack = await AsyncExitStack().__aenter__()
        layout = make_layout(self.mode, self.count)
        states = {}
        for number in range(1, self.count + 1):
            address = parse_address(f"unix:{self.folder}/s{number}")
            self.shards[number] = DictShard(number, TokenMap(layout))
            await self.shards[number].start(address)
            states[ShardId(number)] = ShardState.led_at(ShardId(number), Term(1), str(address))
        self.topology = Topology(1, "test", layout, states)
        self.publish(self.topology)
        config = ProxyConfig("127.0.0.1:0", str(self.folder / "topology.json"), limits=self.limits, bounds=self.bounds)
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        world = system_world()
        source = WatchedTopology(world.disk, config.topology)
        self.proxy = Proxy(config, world, source, await source.read(), group)
        self.address = parse_address(await self.proxy.start())
        return self

    async def __aexit__(self, *reason: object) -> None:
        for client in self.clients:
            await client.close()
        for shard in self.shards.values():
            await shard.stop()
        await self.proxy.stop()
        await self._stack.aclose()

    def publish(self, topology: Topology) -> None:
        """Replace the topology file, as its owner does: atomically."""
        self.topology = topology
        temporary = self.folder / "topology.tmp"
        temporary.write_bytes(encode_topology(topology))
        temporary.rename(self.folder / "topology.json")

    def move(self, shard: int, address: str) -> None:
        """Publish another leader address."""
        state = self.topology.shards[ShardId(shard)]
        self.publish(self.topology.with_shard(ShardState.led_at(state.id, Term(state.term + 1), address)))

    def shard_of(self, key: bytes) -> DictShard:
        return self.shards[TokenMap(self.topology.layout).owner(key)]

    def keys_of(self, shard: int, count: int) -> list[bytes]:
        """``count`` keys that a shard owns."""
        token_map = TokenMap(self.topology.layout)
        found: list[bytes] = []
        number = 0
        while len(found) < count:
            key = b"%c%06d" % (32 + number % 95, number)
            if token_map.owner(key) == shard:
                found.append(key)
            number += 1
        return found

    async def client(self) -> RawClient:
        reader, writer = await asyncio.open_connection(self.address.host, self.address.port, limit=1 << 20)
        client = RawClient(reader, writer)
        self.clients.append(client)
        return client


def drive(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` in an event loop of the kind that the processes use, for at most ``DRIVE_S``."""

    async def main() -> None:
        async with asyncio.timeout(DRIVE_S):
            await work()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())
