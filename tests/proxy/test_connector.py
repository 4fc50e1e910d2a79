"""How a link finds its shard: what it does while connecting takes long."""

import asyncio
import socket
import time
from pathlib import Path

from support.proxy_run import Cluster, drive

from sherd.proxy.bounds import Bounds


def test_connecting_to_a_leader_that_is_gone_ends_when_another_leads(tmp_path: Path) -> None:
    async def work() -> None:
        bounds = Bounds(connect_timeout_s=60.0, failover_hold_s=60.0, request_timeout_s=60.0)
        async with Cluster(tmp_path, "range", 1, bounds=bounds) as cluster:
            client = await cluster.client()
            assert await client.call("put", b"k", 1) != []
            found = cluster.topology.shards[next(iter(cluster.topology.shards))].leader_address
            with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody says anything
                silent.setblocking(False)
                cluster.move(1, f"127.0.0.1:{silent.getsockname()[1]}")
                accepted, _ = await asyncio.get_running_loop().sock_accept(silent)
                with accepted:
                    msgid = client.send("get", b"k")
                    began = time.monotonic()
                    cluster.move(1, found)
                    assert await client.response() == [1, msgid, None, 1]
                    assert time.monotonic() - began < 10

    drive(work)
