"""The real listener and links over sockets: floods, slow clients, dead shards, shutdown. # FAULTS 20, 21, 22, 30, 31"""

import asyncio
import resource
from pathlib import Path
from typing import cast

import msgpack
import pytest
from support.proxy_run import Cluster, RawClient, drive

from sherd.common.limits import Limits
from sherd.common.net.address import parse_address
from sherd.common.types import ShardId
from sherd.common.wire.encode import request
from sherd.proxy.bounds import Bounds

pytestmark = pytest.mark.core


async def eventually(condition: object, seconds: float = 10.0) -> None:
    """Wait until ``condition()`` holds."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def code_of(found: object) -> object:
    return found[1][0] if isinstance(found, list) and found and found[0] == "error" else None


def test_pipeline_flood_is_answered_in_full(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, limits=Limits(inflight_requests_max=500)) as cluster:
            client = await cluster.client()
            count = 30_000
            client.writer.write(
                b"".join(request(number, "put", [f"k{number % 77}", number]) for number in range(count))
            )
            answered = {(await client.response())[1] for _ in range(count)}
            assert answered == set(range(count))
            await client.writer.drain()
            assert await client.call("get", "k0") == 29_953

    drive(work)


def test_a_client_that_never_reads_is_cut_off_and_others_are_served(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, limits=Limits(unread_bytes_max=1 << 20)) as cluster:
            other = await cluster.client()
            await other.call("put", "big", b"x" * 500_000)
            greedy = await cluster.client()
            cast("asyncio.Transport", greedy.writer.transport).pause_reading()
            for _ in range(100):
                greedy.send("get", "big")
            await eventually(lambda: len(cluster.proxy.listener.sessions) == 1)
            assert await other.call("get", "big") == b"x" * 500_000

    drive(work)


def test_a_byte_a_second_client_is_cut_off(tmp_path: Path) -> None:
    async def work() -> None:
        bounds = Bounds(first_frame_s=0.3, frame_s=0.3)
        async with Cluster(tmp_path, bounds=bounds) as cluster:
            silent = await cluster.client()
            slow = await cluster.client()
            good = await cluster.client()
            await good.call("ping")
            frame = request(1, "get", ["a" * 100])

            async def trickle() -> None:
                for position in range(len(frame)):
                    slow.writer.write(frame[position : position + 1])
                    await asyncio.sleep(0.05)

            trickling = asyncio.ensure_future(trickle())
            assert await silent.closed()
            assert await slow.closed()
            trickling.cancel()
            assert await good.call("ping") == b"pong"

    drive(work)


def test_too_many_connections_get_one_error(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, limits=Limits(connections_max=2)) as cluster:
            first, second = await cluster.client(), await cluster.client()
            await first.call("ping")
            await second.call("ping")
            third = await cluster.client()
            error = (await third.response())[2]
            assert isinstance(error, list)
            assert error[0] == 20
            assert await third.closed()
            await first.close()
            await eventually(lambda: len(cluster.proxy.listener.sessions) == 1)
            fourth = await cluster.client()
            assert await fourth.call("ping") == b"pong"

    drive(work)


def test_declared_sizes_do_not_cost_memory(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path) as cluster:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for frame in (
                b"\x94\x00\x01\xa3put\x92\xa1a\xc6\xff\xff\xff\xff",
                b"\x94\x00\x01\xa5batch\x91\xdd\xff\xff\xff\xff",
                b"\x94\x00\x01\xa3put\x92\xa1a" + b"\x91" * 100_000,
                b"\xdd\xff\xff\xff\xff",
            ):
                client = await cluster.client()
                client.writer.write(frame + b"junk" * 1000)
                assert await client.closed()
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
            good = await cluster.client()
            assert await good.call("ping") == b"pong"

    drive(work)


def test_a_shard_that_comes_back_is_found_and_held_requests_are_served(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, count=2) as cluster:
            client = await cluster.client()
            [key] = cluster.keys_of(1, 1)
            await client.call("put", key, 1)
            shard = cluster.shards[1]
            await shard.stop()
            await eventually(lambda: not any(link.up for link in cluster.proxy.routes.links if link.shard == 1))
            client.send("put", key, 2)
            client.send("get", key)
            await asyncio.sleep(0.05)
            await shard.start(parse_address(cluster.topology.shards[ShardId(1)].leader_address))
            assert (await client.response())[3] == 2
            assert (await client.response())[3] == 2

    drive(work)


def test_a_dead_shard_is_unavailable_after_the_hold_and_others_serve_on(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, count=2, bounds=Bounds(failover_hold_s=0.2)) as cluster:
            client = await cluster.client()
            dead, alive = cluster.keys_of(1, 1)[0], cluster.keys_of(2, 1)[0]
            await client.call("put", alive, 1)
            await cluster.shards[1].stop()
            await eventually(lambda: not any(link.up for link in cluster.proxy.routes.links if link.shard == 1))
            assert code_of(await client.call("put", dead, 1)) == 21
            assert code_of(await client.call("scan", None, None)) == 21
            assert await client.call("get", alive) == 1

    drive(work)


def test_a_stuck_shard_times_out_and_its_silence_is_noticed(tmp_path: Path) -> None:
    async def work() -> None:
        bounds = Bounds(request_timeout_s=0.1, silence_s=0.4)
        async with Cluster(tmp_path, count=1, bounds=bounds) as cluster:
            client = await cluster.client()
            await client.call("put", "a", 1)
            cluster.shards[1].freeze()
            assert code_of(await client.call("put", "a", 2)) == 22
            assert code_of(await client.call("get", "a")) == 22
            assert await client.call("get", "a", {"deadline_ms": 5000}) == 1

    drive(work)


def test_a_moved_leader_is_followed(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, count=1) as cluster:
            client = await cluster.client()
            await client.call("put", "a", 1)
            shard = cluster.shards[1]
            await shard.stop()
            elsewhere = f"unix:{tmp_path}/elsewhere"
            await shard.start(parse_address(elsewhere))
            client.send("get", "a")
            cluster.move(1, elsewhere)
            assert (await client.response())[3] == 1

    drive(work)


def test_a_damaged_topology_file_is_survived(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, count=1) as cluster:
            client = await cluster.client()
            good = (tmp_path / "topology.json").read_bytes()
            (tmp_path / "topology.json").write_bytes(good[:-20])
            cluster.proxy.routes.refresh_wanted = True
            await eventually(lambda: not cluster.proxy.routes.refresh_wanted)
            assert await client.call("put", "a", 1) == 1
            cluster.publish(cluster.topology)

    drive(work)


def test_stop_finishes_what_is_under_way(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, count=1) as cluster:
            client = await cluster.client()
            await client.call("ping")
            cluster.shards[1].freeze()
            client.send("put", "a", 1)
            await eventually(lambda: any(session.inflight for session in cluster.proxy.listener.sessions))
            stopping = asyncio.ensure_future(cluster.proxy.listener.stop())
            await asyncio.sleep(0.02)
            cluster.shards[1].thaw()
            assert (await client.response())[3] == 1
            assert await client.closed()
            await stopping
            with pytest.raises(OSError):
                await asyncio.open_connection(cluster.address.host, cluster.address.port)

    drive(work)


def test_many_clients_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path) as cluster:

            async def one(client: RawClient, number: int) -> None:
                for step in range(20):
                    assert isinstance(await client.call("put", f"c{number}", step), int)
                    assert await client.call("get", f"c{number}") == step

            clients = [await cluster.client() for _ in range(50)]
            await asyncio.gather(*(one(client, number) for number, client in enumerate(clients)))

    drive(work)


def test_a_large_value_goes_through_whole(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path) as cluster:
            client = await cluster.client()
            value = bytes(range(256)) * 4 * 8 * 1000
            assert len(msgpack.packb(value)) < 8 << 20
            assert await client.call("put", "big", value) == 1
            assert await client.call("get", "big") == value
            assert code_of(await client.call("put", "big", b"x" * (8 << 20))) == 3
            assert await client.call("get", "big") == value

    drive(work)
