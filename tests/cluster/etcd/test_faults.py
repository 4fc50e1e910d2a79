"""etcd that is not there, does not answer, has lost its quorum, or does not let us in."""

import asyncio
import logging
import socket
import time
from contextlib import aclosing, asynccontextmanager

import pytest
from support.etcd_process import EtcdMember, etcd_cluster, free_ports, make_certificates

from sherd.cluster.etcd.api import Change, EtcdRefused, EtcdUnavailable, Holds, Put
from sherd.cluster.etcd.config import EtcdConfig
from sherd.cluster.etcd.gateway import GatewayEtcd
from sherd.common.errors import ConfigError

PATIENCE_SECONDS = 20
PASSWORD = "correct horse battery staple"


@asynccontextmanager
async def opened(config: EtcdConfig):
    etcd = GatewayEtcd(config)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield etcd
    finally:
        await etcd.close()


@asynccontextmanager
async def unavailable_within(seconds):
    began = time.monotonic()
    with pytest.raises(EtcdUnavailable) as caught:
        yield caught
    assert time.monotonic() - began < seconds


def test_nobody_there_is_unavailable_at_once():
    async def scenario():
        urls = tuple(f"http://127.0.0.1:{port}" for port in free_ports(2))
        async with opened(EtcdConfig(urls)) as store:
            for ask in (store.read_prefix("a"), store.transact([], []), anext(store.watch("a", 1))):
                async with unavailable_within(2) as caught:
                    await ask
                assert all(url in str(caught.value) for url in urls)

    asyncio.run(scenario())


def test_a_silent_member_is_passed_over_and_nothing_is_sent_twice(etcd, prefix):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            for urls in ((silent_url, etcd.url), (f"http://127.0.0.1:{free_ports(1)[0]}", silent_url, etcd.url)):
                config = EtcdConfig(urls, request_seconds=0.6)
                async with opened(config) as store:
                    revision, _ = await store.read_prefix(prefix)
                    assert await store.transact([], [Put(prefix, b"1")])  # to the one that answered
                async with opened(config) as store, aclosing(store.watch(prefix, revision + 1)) as changes:
                    assert await anext(changes) == [Change(prefix, b"1", revision + 1)]
                async with opened(config) as store:
                    with pytest.raises(EtcdUnavailable, match=silent_url):
                        await store.transact([], [Put(prefix, b"2")])
                    assert await store.transact([Holds(prefix, b"1")], [Put(prefix, b"3")])

    asyncio.run(scenario())


def test_one_that_does_not_answer_is_unavailable_in_bounded_time(tmp_path):  # FAULTS 19
    async def scenario(member: EtcdMember):
        config = member.config(request_seconds=0.3, silence_seconds=0.1)
        async with opened(config) as store:
            revision, _ = await store.read_prefix("a")
            lease = await store.grant(60)
            async with aclosing(store.watch("a", revision + 1)) as changes:
                coming = asyncio.ensure_future(anext(changes))
                await store.transact([], [Put("b", b"1")])
                with member.stopped():
                    for ask in (
                        store.read_prefix("a"),
                        store.transact([], [Put("c", b"")]),
                        store.keep_alive(lease.id),
                    ):
                        async with unavailable_within(1):
                            await ask
                    async with unavailable_within(1):
                        await coming
            # What was not answered may have been done: here the kernel kept it for the member.
            assert await store.keep_alive(lease.id) == 60

    with etcd_cluster(tmp_path) as (member,):
        asyncio.run(scenario(member))


def test_one_that_is_killed_and_started_again_is_used_again(tmp_path):
    async def scenario(member: EtcdMember):
        async with opened(member.config(request_seconds=1)) as store:
            revision, _ = await store.read_prefix("a")
            async with aclosing(store.watch("a", revision + 1)) as changes:
                coming = asyncio.ensure_future(anext(changes))
                await store.transact([], [Put("a", b"1")])
                assert await coming == [Change("a", b"1", revision + 1)]
                coming = asyncio.ensure_future(anext(changes))
                await store.read_prefix("a")
                member.kill()
                with pytest.raises(EtcdUnavailable):
                    await coming
            async with unavailable_within(2):
                await store.read_prefix("a")
            member.start()
            assert (await store.read_prefix("a"))[0] == revision + 1

    with etcd_cluster(tmp_path) as (member,):
        asyncio.run(scenario(member))


def test_of_three_members_the_one_asked_dies_and_then_the_quorum(tmp_path):  # FAULTS 19
    async def scenario(members: list[EtcdMember]):
        config = EtcdConfig(tuple(member.url for member in members), request_seconds=3, silence_seconds=60)
        async with opened(config) as store:
            assert await store.transact([], [Put("a", b"1")])
            revision, _ = await store.read_prefix("a")
            members[0].kill()
            assert [pair.value for pair in (await store.read_prefix("a"))[1]] == [b"1"]
            assert await store.transact([], [Put("a", b"2")])
            async with aclosing(store.watch("a", revision + 1)) as changes:
                assert await anext(changes) == [Change("a", b"2", revision + 1)]
                coming = asyncio.ensure_future(anext(changes))
                await store.transact([], [Put("a", b"3")])
                assert await coming == [Change("a", b"3", revision + 2)]
                # The one that is left answers, and hears of no change any more: its watches end, by nobody's cut.
                last = EtcdConfig((members[2].url,), request_seconds=0.5, silence_seconds=60)
                async with opened(last) as alone, aclosing(alone.watch("a", revision + 3)) as quiet:
                    waiting = asyncio.ensure_future(anext(quiet))
                    await alone.read_prefix("a")
                    members[1].kill()
                    with pytest.raises(EtcdUnavailable):
                        await waiting
                    async with unavailable_within(2):
                        await alone.read_prefix("a")
            async with unavailable_within(config.request_seconds + 1):
                await store.transact([], [Put("a", b"4")])

    with etcd_cluster(tmp_path, 3) as members:
        asyncio.run(scenario(members))


def test_a_client_shows_its_certificate_and_looks_at_theirs(tmp_path):
    files = make_certificates(tmp_path / "tls")
    ca, cert, key = str(files.ca), str(files.cert), str(files.key)

    async def scenario(member: EtcdMember):
        async with opened(member.config(ca=ca, cert=cert, key=key)) as store:
            revision, _ = await store.read_prefix("a")
            async with aclosing(store.watch("a", revision + 1)) as changes:
                coming = asyncio.ensure_future(anext(changes))
                assert await store.transact([], [Put("a", b"1")])
                assert await coming == [Change("a", b"1", revision + 1)]
        async with opened(member.config(ca=ca)) as store:
            with pytest.raises(EtcdUnavailable, match=r"(?i)certificate"):
                await store.read_prefix("a")
        async with opened(member.config(cert=cert, key=key)) as store:
            with pytest.raises(EtcdUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await store.transact([], [])
        for wrong in ({"ca": f"{ca}.none"}, {"ca": ca, "cert": cert, "key": ca}):
            with pytest.raises(ConfigError, match="certificates cannot be used"):
                GatewayEtcd(member.config(**wrong))

    with etcd_cluster(tmp_path, tls=files) as (member,):
        asyncio.run(scenario(member))


def restart(member: EtcdMember) -> None:
    member.kill()
    member.start()


def enable_authentication(member: EtcdMember) -> None:
    """``sherd`` may do what it likes with keys that begin with ``sherd/``; ``root`` is etcd's own administrator."""
    for user, password in (("root", "root's"), ("sherd", PASSWORD)):
        member.post("/v3/auth/user/add", name=user, password=password)
        member.post("/v3/auth/role/add", name=user)
        member.post("/v3/auth/user/grant", user=user, role=user)
    prefix = {"key": "c2hlcmQv", "range_end": "c2hlcmQw"}
    member.post("/v3/auth/role/grant", name="sherd", perm={"permType": "READWRITE", **prefix})
    member.post("/v3/auth/enable")


def test_a_user_logs_in_and_does_so_again_when_forgotten(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(PASSWORD + "\n")
    wrong.write_text("hunter2")

    async def scenario(member: EtcdMember):
        as_sherd = member.config(user="sherd", password_file=str(right), silence_seconds=0.2)
        async with opened(as_sherd) as store:
            with pytest.raises(EtcdRefused, match="authentication is not enabled"):
                await store.read_prefix("sherd/")
        enable_authentication(member)
        async with opened(as_sherd) as store:
            assert await store.transact([], [Put("sherd/a", b"1")])
            revision, _ = await store.read_prefix("sherd/")
            with pytest.raises(EtcdRefused, match="permission denied"):
                await store.read_prefix("other/")
            with pytest.raises(EtcdRefused, match="permission denied"):
                await anext(store.watch("other/", 1))
            await asyncio.to_thread(restart, member)  # etcd keeps its tokens in memory
            answers = await asyncio.gather(*(store.read_prefix("sherd/") for _ in range(5)))
            assert {answer[0] for answer in answers} == {revision}
            await asyncio.to_thread(restart, member)
            async with aclosing(store.watch("sherd/", revision + 1)) as changes:
                coming = asyncio.ensure_future(anext(changes))
                assert await store.transact([], [Put("sherd/a", b"2")])
                assert await coming == [Change("sherd/a", b"2", revision + 1)]
        async with opened(member.config()) as store:
            with pytest.raises(EtcdRefused, match="asks for a user and password"):
                await store.read_prefix("sherd/")
        async with opened(member.config(user="sherd", password_file=str(wrong))) as store:
            with pytest.raises(EtcdRefused, match="invalid user ID or password"):
                await store.transact([], [])
        async with opened(member.config(user="sherd", password_file=str(tmp_path / "none"))) as store:
            with pytest.raises(EtcdRefused, match="none: No such file"):
                await store.transact([], [])

    with etcd_cluster(tmp_path / "etcd") as (member,):
        asyncio.run(scenario(member))
    told = caplog.text + "".join(repr(record.__dict__) for record in caplog.records)
    assert PASSWORD not in told
    assert "hunter2" not in told
