"""etcd through its gateway: every method, against one real member."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest
import uvloop
from support.etcd_process import EtcdMember
from support.forwarder import Forwarder

from sherd.cluster.etcd.api import (
    Absent,
    Change,
    Delete,
    EtcdRefused,
    EtcdUnavailable,
    Holds,
    KeyValue,
    LeaseEnded,
    Put,
    WatchLost,
)
from sherd.cluster.etcd.config import EtcdConfig
from sherd.cluster.etcd.gateway import GatewayEtcd
from sherd.cluster.etcd.opening import open_etcd
from sherd.common.errors import ConfigError
from sherd.common.net.address import parse_address

PATIENCE_SECONDS = 10


@asynccontextmanager
async def opened(member: EtcdMember, **settings):
    etcd = GatewayEtcd(member.config(**settings))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield etcd
    finally:
        await etcd.close()


async def values(etcd, prefix):
    _, found = await etcd.read_prefix(prefix)
    return {pair.key: pair.value for pair in found}


def test_what_was_put_is_read_in_order_at_one_revision(etcd, prefix):
    async def scenario():
        async with opened(etcd) as store:
            before, found = await store.read_prefix(prefix)
            assert found == []
            odd = f"{prefix}/b\u20ac"
            assert await store.transact([], [Put(odd, bytes(range(256))), Put(f"{prefix}/a", b"")])
            assert await store.transact([], [Put(f"{prefix}0", b"not under it")])
            revision, found = await store.read_prefix(f"{prefix}/")
            assert revision == before + 2
            assert found == [
                KeyValue(f"{prefix}/a", b"", before + 1),
                KeyValue(odd, bytes(range(256)), before + 1),
            ]
            assert set(await values(store, "")) >= {odd, f"{prefix}0"}

    asyncio.run(scenario())


def test_a_transaction_does_all_or_nothing(etcd, prefix):
    async def scenario():
        a, b = f"{prefix}/a", f"{prefix}/b"
        async with opened(etcd) as store:
            assert await store.transact([Absent(a), Absent(b)], [Put(a, b"1")])
            assert not await store.transact([Absent(a)], [Put(b, b"2")])
            assert not await store.transact([Holds(a, b"2"), Absent(b)], [Put(b, b"2")])
            assert not await store.transact([Holds(b, b"")], [Delete(a)])  # which is not there
            assert await values(store, prefix) == {a: b"1"}
            assert await store.transact([Holds(a, b"1"), Absent(b)], [Delete(a), Put(b, b"2"), Delete(f"{prefix}/c")])
            assert await values(store, prefix) == {b: b"2"}
            assert await store.transact([Holds(b, b"2")], [])
            with pytest.raises(EtcdRefused, match="duplicate key"):
                await store.transact([], [Put(a, b"1"), Put(a, b"2")])
            with pytest.raises(EtcdRefused, match="too large"):
                await store.transact([], [Put(a, bytes(2_000_000))])

    asyncio.run(scenario())


def test_a_lease_takes_its_keys_along_when_it_ends(etcd, prefix):
    async def scenario():
        key = f"{prefix}/lease"
        async with opened(etcd) as store:
            lease = await store.grant(1)
            assert lease.ttl_seconds >= 1
            assert await store.transact([Absent(key)], [Put(key, b"me", lease.id)])
            revision, found = await store.read_prefix(key)
            assert found == [KeyValue(key, b"me", revision, lease.id)]
            assert await store.keep_alive(lease.id) == lease.ttl_seconds
            async with aclosing(store.watch(key, revision + 1)) as changes:
                assert await anext(changes) == [Change(key, None, revision + 1)]  # it has expired
            assert await store.keep_alive(lease.id) == 0
            await store.revoke(lease.id)
            with pytest.raises(LeaseEnded):
                await store.transact([], [Put(key, b"me", lease.id)])
            assert await values(store, prefix) == {}

            lease = await store.grant(60)
            assert lease.ttl_seconds == 60
            await store.transact([], [Put(key, b"me", lease.id)])
            await store.revoke(lease.id)
            assert await values(store, prefix) == {}
            assert await store.keep_alive(lease.id) == 0

    asyncio.run(scenario())


def test_a_watch_reports_what_was_and_what_comes(etcd, prefix):
    async def scenario():
        a, b = f"{prefix}/a", f"{prefix}/b"
        async with opened(etcd) as store:
            first, _ = await store.read_prefix(prefix)
            await store.transact([], [Put(a, b"1"), Put(b, b"1")])
            await store.transact([], [Put(f"{prefix}0", b"another's")])
            await store.transact([], [Delete(a), Put(b, b"2")])
            async with aclosing(store.watch(f"{prefix}/", first + 1)) as changes:
                assert await anext(changes) == [Change(a, b"1", first + 1), Change(b, b"1", first + 1)]
                assert await anext(changes) == [Change(a, None, first + 3), Change(b, b"2", first + 3)]
                coming = asyncio.ensure_future(anext(changes))
                await store.read_prefix(prefix)
                assert not coming.done()
                await store.transact([], [Put(a, b"x" * 300_000)])
                assert await coming == [Change(a, b"x" * 300_000, first + 4)]

    asyncio.run(scenario())


def test_a_watch_from_before_a_compaction_is_lost(etcd, prefix):
    async def scenario():
        async with opened(etcd) as store:
            for number in range(5):
                await store.transact([], [Put(f"{prefix}/a", b"%d" % number)])
            revision, _ = await store.read_prefix(prefix)
            etcd.post("/v3/kv/compaction", revision=str(revision - 1))
            with pytest.raises(WatchLost, match=f"before revision {revision - 1} are gone"):
                await anext(store.watch(f"{prefix}/", revision - 3))
            async with aclosing(store.watch(f"{prefix}/", revision)) as changes:
                assert await anext(changes) == [Change(f"{prefix}/a", b"4", revision)]

    asyncio.run(scenario())


def test_a_quiet_watch_is_asked_anew_and_misses_nothing(etcd, prefix):
    async def scenario():
        key = f"{prefix}/a"
        async with Forwarder(parse_address(etcd.url.removeprefix("http://"))) as forwarder:
            store = GatewayEtcd(EtcdConfig((f"http://{forwarder.address}",), silence_seconds=0.2))
            revision, _ = await store.read_prefix(prefix)
            async with asyncio.timeout(PATIENCE_SECONDS), aclosing(store.watch(key, revision + 1)) as changes:
                coming = asyncio.ensure_future(anext(changes))
                await forwarder.accepted(4)  # one for the reading, and the watch three times
                await store.transact([], [Put(key, b"1")])
                assert await coming == [Change(key, b"1", revision + 1)]
                await forwarder.silence()
                async with opened(etcd) as direct:
                    await direct.transact([], [Put(key, b"2")])
                assert await anext(changes) == [Change(key, b"2", revision + 2)]
            await store.close()

    asyncio.run(scenario())


def test_many_requests_at_once_share_few_connections(etcd, prefix):
    async def scenario():
        async with opened(etcd) as store:
            keys = [f"{prefix}/{number:03}" for number in range(200)]
            done = await asyncio.gather(*(store.transact([Absent(key)], [Put(key, b"")]) for key in keys))
            assert all(done)
            assert list(await values(store, prefix)) == keys

    asyncio.run(scenario())


def test_a_request_that_is_given_up_takes_no_connection_with_it(etcd, prefix):
    async def scenario():
        async with opened(etcd) as store:
            for _ in range(5):
                tasks = [asyncio.ensure_future(store.read_prefix(prefix)) for _ in range(40)]
                await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert all(task.cancelled() for task in tasks[::2])
                assert not any(task.cancelled() for task in tasks[1::2])

    asyncio.run(scenario())


def test_under_uvloop(etcd, prefix):
    async def scenario():
        async with opened(etcd) as store:
            revision, _ = await store.read_prefix(prefix)
            async with aclosing(store.watch(prefix, revision + 1)) as changes:
                coming = asyncio.ensure_future(anext(changes))
                await store.transact([], [Put(prefix, b"1")])
                assert await coming == [Change(prefix, b"1", revision + 1)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        ("200 OK", b"<>", EtcdRefused, "not JSON"),
        ("200 OK", b"[]", EtcdRefused, "not a JSON object"),
        ("200 OK", b"{}", EtcdRefused, "is not understood"),
        (
            "200 OK",
            b'{"header":{"revision":"1"},"kvs":[{"key":"!","mod_revision":"1"}]}',
            EtcdRefused,
            "not understood",
        ),
        ("404 Not Found", b"no such page", EtcdRefused, "HTTP status 404"),
        ("302 Found", b"", EtcdRefused, "HTTP status 302"),
        ("502 Bad Gateway", b"<html>", EtcdUnavailable, "HTTP status 502"),
        ("503 Service Unavailable", b'{"code":14,"message":"no leader"}', EtcdUnavailable, "no leader"),
        ("429 Too Many Requests", b'{"code":8,"message":"etcdserver: too many requests"}', EtcdUnavailable, "too many"),
        ("429 Too Many Requests", b'{"code":8,"message":"database space exceeded"}', EtcdRefused, "space exceeded"),
    ],
)
def test_what_is_no_answer_is_refused_or_unavailable(status, body, error, words):
    async def scenario():
        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
            writer.write(body)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        store = open_etcd(EtcdConfig((f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",)))
        with pytest.raises(error, match=words):
            await store.read_prefix("a")
        with pytest.raises((EtcdRefused, EtcdUnavailable)):
            await anext(store.watch("a", 1))
        await store.close()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_no_etcd_is_named():
    async def scenario():
        with pytest.raises(ConfigError, match="endpoints are needed"):
            open_etcd(EtcdConfig())

    asyncio.run(scenario())
