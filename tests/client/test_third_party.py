"""Existing MessagePack-RPC clients drive a real cluster as they are: aio-msgpack-rpc 0.2 and pynvim 0.6.

Both pipeline; both number and match replies by themselves. pynvim sends a notification of its own first, which the
server must ignore.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aio_msgpack_rpc import Client as AioClient
from aio_msgpack_rpc.error import RPCResponseError
from pynvim.msgpack_rpc import tcp_session

from sherd.testing import Cluster

VALUES = [True, 7, -3, 1.5, "text", "ключ", b"\x00\xff", [1, [2, b"x"]], {"a": {"b": [None, 1]}}, "v" * 10_000]


@asynccontextmanager
async def aio_client(cluster: Cluster) -> AsyncIterator[AioClient]:
    host, _, port = cluster.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = AioClient(reader, writer, response_timeout=20)
    try:
        yield client
    finally:
        client.close()
        await writer.wait_closed()


class NvimClient:
    """pynvim's session, one request at a time or many at once."""

    def __init__(self, cluster: Cluster) -> None:
        host, _, port = cluster.address.rpartition(":")
        self.session = tcp_session(host, int(port))
        self.call = self.session.request

    def pipeline(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Send every (method, argument ...) before any reply is read; the results in the order of the calls."""
        replies: dict[int, Any] = {}
        channel = self.session._async_session

        def keep(position: int) -> Any:
            def on_reply(error: Any, result: Any) -> None:
                replies[position] = error if error else result
                if len(replies) == len(calls):
                    channel.stop()

            return on_reply

        for position, (method, *arguments) in enumerate(calls):
            channel.request(method, arguments, keep(position))
        channel.run(None, None)
        return [replies[position] for position in range(len(calls))]

    def close(self) -> None:
        """pynvim closes its loop before its connection is closed; let that happen first, which stops the loop."""
        events = self.session.loop
        events._transport.close()
        events._loop.run_forever()
        self.session.close()


@contextmanager
def nvim_client(cluster: Cluster) -> Iterator[NvimClient]:
    client = NvimClient(cluster)
    try:
        yield client
    finally:
        client.close()


def test_aio_msgpack_rpc_single_requests(sherd_cluster: Cluster) -> None:
    async def main() -> None:
        async with aio_client(sherd_cluster) as client:
            assert await client.call("get", "k") is None
            versions = [await client.call("put", f"k{n}", value) for n, value in enumerate(VALUES)]
            assert all(isinstance(version, int) and version > 0 for version in versions)
            for number, value in enumerate(VALUES):
                assert await client.call("get", f"k{number}") == value
                assert await client.call("get", f"k{number}".encode()) == value
            assert await client.call("get", "k1", {"meta": True}) == [7, versions[1], None]
            assert await client.call("mget", ["k1", "none", "k2"]) == [7, None, -3]
            made = await client.call("batch", [["put", "b1", 1], ["delete", "k0"], ["put", b"b2", 2, {"ttl": 60}]])
            assert made[1] is True
            assert made[0] > 0
            assert made[2] > 0
            assert await client.call("delete", "k1") is True
            assert await client.call("delete", "k1") is False
            rows, cursor = await client.call("scan", "k", None)
            assert rows == [[f"k{n}".encode(), VALUES[n]] for n in range(2, 10)]
            assert cursor is None

    asyncio.run(main())


def test_aio_msgpack_rpc_pipelined(sherd_cluster: Cluster) -> None:
    async def main() -> None:
        async with aio_client(sherd_cluster) as client:
            await client.notify("anything", 1, 2)
            await asyncio.gather(*(client.call("put", f"k{n:04}", {"n": n}) for n in range(1000)))
            found = await asyncio.gather(*(client.call("get", f"k{n:04}") for n in range(1000)))
            assert found == [{"n": n} for n in range(1000)]
            order = [client.call("put", "same", n) for n in range(200)]
            versions = await asyncio.gather(*order)
            assert versions == sorted(versions)
            assert await client.call("get", "same") == 199
            keys: list[bytes] = []
            options: dict[str, Any] = {"keys_only": True, "limit": 300, "prefix": "k"}
            page, cursor = await client.call("scan", None, None, options)
            keys += page
            while cursor is not None:
                page, cursor = await client.call(
                    "scan", None, None, {"keys_only": True, "limit": 300, "cursor": cursor}
                )
                keys += page
            assert keys == [b"k%04d" % n for n in range(1000)]

    asyncio.run(main())


def test_aio_msgpack_rpc_errors(sherd_cluster: Cluster) -> None:
    async def main() -> None:
        async with aio_client(sherd_cluster) as client:
            await client.call("put", "k", 1)
            for call, code, name in [
                (("put", "k", 2, {"if_version": 0}), 4, "CONFLICT"),
                (("put", "k"), 1, "BAD_REQUEST"),
                (("get", ""), 1, "BAD_REQUEST"),
                (("get", "x" * 5000), 3, "TOO_LARGE"),
                (("no such method",), 2, "UNKNOWN_METHOD"),
            ]:
                with pytest.raises(RPCResponseError) as caught:
                    await client.call(*call)
                assert caught.value.args[0][0] == code
                assert caught.value.args[0][1].startswith(name)
            assert await client.call("get", "k") == 1

    asyncio.run(main())


def test_pynvim_single_requests(sherd_cluster: Cluster) -> None:
    with nvim_client(sherd_cluster) as client:
        assert client.call("get", "k") is None
        versions = [client.call("put", f"k{n}", value) for n, value in enumerate(VALUES)]
        assert versions[0] > 0
        for number, value in enumerate(VALUES):
            assert client.call(b"get", f"k{number}") == value
        assert client.call("mget", [b"k1", "none", "k2"]) == [7, None, -3]
        assert client.call("batch", [["put", "b1", 1], ["delete", "k0"]])[1] is True
        assert client.call("delete", "k1", {"return": True}) == 7
        assert client.call("delete", "k1", {"return": True}) is False
        rows, cursor = client.call("scan", "k", "k5", {"reverse": True})
        assert rows == [[f"k{n}".encode(), VALUES[n]] for n in (4, 3, 2)]
        assert cursor is None
        with pytest.raises(Exception, match="CONFLICT"):
            client.call("put", "k3", 1, {"if_version": 1})


def test_pynvim_pipelined(sherd_cluster: Cluster) -> None:
    with nvim_client(sherd_cluster) as client:
        versions = client.pipeline([("put", f"k{n:04}", [n, b"x"]) for n in range(1000)])
        assert len(set(versions)) <= 1000
        assert client.pipeline([("get", f"k{n:04}") for n in range(1000)]) == [[n, b"x"] for n in range(1000)]
        mixed = client.pipeline(
            [("put", "a", 1), ("get", "a"), ("put", "a", 2), ("mget", ["a", "a"]), ("delete", "a"), ("get", "a")]
        )
        assert [mixed[1], *mixed[3:]] == [1, [2, 2], True, None]
        batches = client.pipeline([("batch", [["put", f"b{i}-{j}", j] for j in range(10)]) for i in range(50)])
        assert [len(batch) for batch in batches] == [10] * 50
        pages = client.pipeline([("scan", f"b{i}-", f"b{i}.", {"keys_only": True}) for i in range(50)])
        assert [len(rows) for rows, _ in pages] == [10] * 50


def test_an_error_as_text_for_clients_that_take_only_that(sherd_cluster: Cluster) -> None:
    with nvim_client(sherd_cluster) as client:
        client.call("hello", {"client": "pynvim", "errors": "string"})
        client.call("put", "k", 1)
        (error,) = client.pipeline([("put", "k", 2, {"if_version": 0})])
        assert isinstance(error, str)
        assert error.startswith("CONFLICT ")
