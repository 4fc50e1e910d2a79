"""Real connections to a shard's listener: who is cut off, who is held back, and who never notices."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.frames import request
from support.proxy_run import RawClient
from support.turn_run import TurnRun, run

from sherd.shard import listener
from sherd.shard.listener import Connections, ShardProtocol
from sherd.shard.lsm.options import EngineOptions

MIB = 1 << 20
OPTIONS = EngineOptions(memtable_bytes=32 * MIB)


class Listener:
    """A shard's listener at a unix socket."""

    def __init__(self, turns: TurnRun, path: Path, most: int) -> None:
        self.turns = turns
        self.connections = Connections(most)
        self._path = path
        self._clients: list[RawClient] = []

    def make(self) -> ShardProtocol:
        return ShardProtocol(self.turns.core.service, self.turns.turn, self.connections)

    async def client(self) -> RawClient:
        client = RawClient(*await asyncio.open_unix_connection(str(self._path), limit=MIB))
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@contextlib.asynccontextmanager
async def listening(tmp_path: Path, fsync: str = "os", most: int = 100) -> AsyncIterator[Listener]:
    async with TurnRun(fsync, options=OPTIONS) as turns:
        found = Listener(turns, tmp_path / "s", most)
        server = await asyncio.get_running_loop().create_unix_server(found.make, str(tmp_path / "s"))
        try:
            yield found
        finally:
            turns.disk.open()
            await found.close()
            for connection in found.connections:
                connection.abort()
            await found.connections.gone(5.0)
            server.close()


def test_it_answers_and_counts_its_connections(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path) as shard:
            clients = [await shard.client() for _ in range(3)]
            for number, client in enumerate(clients):
                await client.call("put", f"k{number}", number)
            assert await clients[0].call("mget", ["k0", "k1", "k2"]) == [0, 1, 2]
            assert len(shard.connections) == 3
            for client in clients:
                await client.close()
            assert await shard.connections.gone(5.0)
            assert len(shard.connections) == 0

    run(main())


def test_connections_beyond_the_most_are_closed(tmp_path: Path) -> None:  # FAULTS 30
    async def main() -> None:
        async with listening(tmp_path, most=2) as shard:
            first, second = await shard.client(), await shard.client()
            await first.call("ping")
            await second.call("ping")
            assert await (await shard.client()).closed()
            await second.close()
            await shard.turns.until(lambda: len(shard.connections) == 1)
            assert await (await shard.client()).call("ping") == b"pong"

    run(main())


def test_a_peer_that_sends_no_whole_request_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FIRST_FRAME_SECONDS_MAX", 0.05)  # FAULTS 22

    async def main() -> None:
        async with listening(tmp_path) as shard:
            silent, slow, good = [await shard.client() for _ in range(3)]
            slow.writer.write(request("ping")[:-1])
            await good.call("ping")
            assert await silent.closed()
            assert await slow.closed()
            assert await good.call("ping") == b"pong"

    run(main())


@pytest.mark.parametrize("garbage", [b"\xc1", b"\x94\x00\x09\xa3get\xc1", b"GET / HTTP/1.1\r\n"])
def test_bad_framing_ends_the_connection_after_all_that_is_owed(tmp_path: Path, garbage: bytes) -> None:  # FAULTS 32
    async def main() -> None:
        async with listening(tmp_path, "always") as shard:
            shard.turns.disk.shut()
            client = await shard.client()
            put = client.send("put", "a", 1)
            client.writer.write(garbage)
            await shard.turns.until(lambda: shard.turns.disk.waiting == 1)
            if garbage.startswith(b"\x94"):
                kind, msgid, error, _ = await client.response()
                assert (kind, msgid) == (1, 9)
                assert error is not None
            shard.turns.disk.open()
            assert (await client.response())[1] == put
            assert await client.closed()
            assert await (await shard.client()).call("get", "a") == 1

    run(main())


def test_a_peer_that_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # FAULTS 21
    monkeypatch.setattr(listener, "UNREAD_SECONDS_MAX", 0.2)

    async def main() -> None:
        async with listening(tmp_path) as shard:
            deaf, good = await shard.client(), await shard.client()
            await good.call("put", "big", b"v" * MIB)
            for _ in range(300):
                deaf.send("get", "big")
            while len(shard.connections) == 2:
                assert await good.call("get", "none") is None
            assert await good.call("get", "none") is None

    run(main())


def test_a_slow_reader_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "UNREAD_SECONDS_MAX", 0.3)

    async def main() -> None:
        async with listening(tmp_path) as shard:
            slow = await shard.client()
            await slow.call("put", "big", b"v" * MIB)
            wanted = 60
            for _ in range(wanted):
                slow.send("get", "big")
            for number in range(wanted):
                assert (await slow.response())[1] == number + 2
                await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize("policy", ["always", "os"])
def test_a_flood_of_writes_waits_for_the_disk_and_is_answered(tmp_path: Path, policy: str) -> None:
    async def main() -> None:
        async with listening(tmp_path, policy) as shard:
            shard.turns.disk.shut()
            shard.turns.core.gate.write_delay_seconds = 0.02
            flood, other = await shard.client(), await shard.client()
            wanted = 100_000
            flood.writer.write(b"".join(request("put", "a", 1, msgid=b"\x01") for _ in range(wanted)))
            await shard.turns.until(lambda: shard.turns.core.engine.last_lsn % (1 << 32) > 10_000)
            assert await other.call("get", "none") is None
            last = shard.turns.core.engine.last_lsn % (1 << 32)
            if policy == "always":
                assert last < 60_000  # the rest waits, in the socket for the most part
            shard.turns.disk.open()
            shard.turns.core.gate.write_delay_seconds = 0.0
            for _ in range(wanted):
                await flood.response()
            assert await other.call("get", "a") == 1

    run(main())
