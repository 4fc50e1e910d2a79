"""Proxies as processes: start, shared port, SIGTERM; and a real cluster whose shard is killed. # FAULTS 17, 24"""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.proxy_run import WAIT_S, Cluster, RawClient, drive

from sherd import testing
from sherd.common.net.address import parse_address
from sherd.common.ready import parse_ready


async def start_proxy(folder: Path, listen: str, name: str) -> tuple[asyncio.subprocess.Process, str]:
    """A proxy process on the topology in ``folder``, and the address it announced."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "sherd.cli.main", "proxy", f"--listen={listen}", f"--name={name}",
               f"--topology={folder / 'topology.json'}", f"--ready-fd={writer}"]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(reader, readable.set)
    async with asyncio.timeout(WAIT_S):
        await readable.wait()
    loop.remove_reader(reader)
    ready = parse_ready(os.read(reader, 4096))
    os.close(reader)
    assert not ready.error
    return process, ready.address


async def connect(address: str) -> RawClient:
    found = parse_address(address)
    return RawClient(*await asyncio.open_connection(found.host, found.port))


def test_sigterm_finishes_what_is_under_way_and_exits_with_0(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, count=1) as cluster:
            process, address = await start_proxy(tmp_path, "127.0.0.1:0", "proxy-a")
            client = await connect(address)
            assert await client.call("put", "a", 1) == 1
            cluster.shards[1].freeze()
            client.send("put", "a", 2)
            await client.writer.drain()
            assert await client.call("ping") == b"pong"
            process.send_signal(signal.SIGTERM)
            refused = await refusal_of(client)
            assert refused[0] == 20
            cluster.shards[1].thaw()
            assert (await client.response())[3] == 2
            assert await client.closed()
            assert await process.wait() == 0
            await client.close()

    drive(work)


async def refusal_of(client: RawClient) -> list[object]:
    """Ping until the proxy, which is stopping, refuses."""
    while True:
        client.send("ping")
        error = (await client.response())[2]
        if error is not None:
            assert isinstance(error, list)
            return error


def test_two_proxies_share_a_port(tmp_path: Path) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, count=1):
            first, address = await start_proxy(tmp_path, "127.0.0.1:0", "proxy-a")
            second, same = await start_proxy(tmp_path, address, "proxy-b")
            assert same == address
            met: set[object] = set()
            clients = []
            for _ in range(100):
                client = await connect(address)
                clients.append(client)
                hello = await client.call("hello")
                assert isinstance(hello, dict)
                met.add(hello[b"proxy"])
                if len(met) == 2:
                    break
            assert met == {b"proxy-a", b"proxy-b"}
            for process in (first, second):
                process.terminate()
                assert await process.wait() == 0
            for client in clients:
                await client.close()

    drive(work)


@pytest.mark.parametrize("partition", ["hash", "range"])
def test_a_killed_shard_under_load(tmp_path: Path, partition: str) -> None:
    with testing.Cluster(shards=2, partition=partition, data=tmp_path / "data", flags=["--fsync=os"]) as cluster:
        drive(lambda: load_while_killing(cluster.address))


async def load_while_killing(address: str) -> None:
    """Pipelined writes while a shard's process is killed: every answer once, acknowledged writes are there after."""
    client, control = await connect(address), await connect(address)
    answers: dict[object, tuple[object, object]] = {}
    keys = [f"{chr(33 + number % 90)}{number}" for number in range(200)]
    sent: dict[int, tuple[str, int]] = {}

    async def send() -> None:
        for number in range(6000):
            key = keys[number % len(keys)]
            sent[client.send("put", key, number)] = (key, number)
            if number % 50 == 0:
                await client.writer.drain()
                await asyncio.sleep(0.005)

    async def receive() -> None:
        for _ in range(6000):
            _, msgid, error, result = await client.response()
            assert msgid not in answers
            answers[msgid] = (error, result)

    async def kill() -> None:
        while len(answers) < 2000:
            await asyncio.sleep(0.005)
        status = await control.call("status")
        assert isinstance(status, dict)
        os.kill(status[b"shards"][0][b"leader"][b"pid"], signal.SIGKILL)

    await asyncio.gather(send(), receive(), kill())
    codes = {error[0] for error, _ in answers.values() if isinstance(error, list)}
    assert codes <= {21, 22}
    lowest: dict[str, int] = {}
    for msgid, (error, _) in answers.items():
        assert isinstance(msgid, int)
        key, number = sent[msgid]
        if error is None:
            lowest[key] = max(lowest.get(key, 0), number)
    found = await control.call("mget", keys)
    assert isinstance(found, list)
    for key, value in zip(keys, found, strict=True):
        assert isinstance(value, int)
        assert value >= lowest[key]
    rows = await control.call("scan", None, None, {"limit": 1000, "keys_only": True})
    assert isinstance(rows, list)
    assert rows[0] == sorted(key.encode() for key in keys)
    assert await control.call("count", None, None) == len(keys)
    await client.close()
    await control.close()


def test_out_of_file_descriptors_accept_survives(tmp_path: Path) -> None:  # FAULTS 30
    async def work() -> None:
        async with Cluster(tmp_path, count=1):
            process, address = await start_proxy(tmp_path, "127.0.0.1:0", "proxy-a")
            first = await connect(address)
            assert await first.call("ping") == b"pong"
            in_use = len(os.listdir(f"/proc/{process.pid}/fd"))
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (in_use + 10, in_use + 10))
            crowd = [await connect(address) for _ in range(40)]
            assert await first.call("ping") == b"pong"
            for client in crowd:
                await client.close()
            late = await connect(address)
            assert await late.call("ping") == b"pong"
            await late.close()
            await first.close()
            process.terminate()
            assert await process.wait() == 0

    drive(work)
