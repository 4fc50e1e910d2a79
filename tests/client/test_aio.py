"""The asyncio client: sharing one connection, cancellation, late replies, coalesced writes, back-pressure, loops."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import pytest
from support.scripted_server import Hold, ScriptedServer, cut_before, usual

from sherd.client import link as link_module
from sherd.client.aio import AsyncClient
from sherd.common.errors import StoreClosed, Timeout, Unavailable


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def run(work: Callable[[AsyncClient], Awaitable[None]], server: ScriptedServer, **options: float) -> None:
    async def main() -> None:
        async with AsyncClient(server.address, **options) as db:  # type: ignore[arg-type]
            await work(db)

    asyncio.run(main())


def test_concurrent_awaits_share_one_connection(any_server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        versions = await asyncio.gather(*(db.put(f"k{n}", n) for n in range(500)))
        assert sorted(versions) == list(range(1, 501))
        assert await asyncio.gather(*(db.get(f"k{n}") for n in range(500))) == list(range(500))

    run(work, any_server)
    assert any_server.connections == 1


def test_requests_of_one_turn_leave_in_one_write(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        await db.ping()
        link = await db._links.usable(asyncio.get_running_loop().time() + 5)
        writes: list[bytes] = []
        transport = link._transport
        assert transport is not None
        real = transport.write

        class Recorder:
            def write(self, data: bytes) -> None:
                writes.append(data)
                real(data)

            def __getattr__(self, name: str) -> object:
                return getattr(transport, name)

        link._transport = Recorder()  # type: ignore[assignment]
        await asyncio.gather(*(db.get("k") for _ in range(100)))
        assert len(writes) == 1
        link._transport = transport

    run(work, server)


def test_replies_out_of_order(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        await db.put("k", 1)
        hold = Hold()
        server.script(hold)
        first = asyncio.create_task(db.get("k"))
        await until(hold.arrived.is_set)
        assert await db.get("other", "none") == "none"
        assert not first.done()
        hold.release()
        assert await first == 1

    run(work, server)


def test_a_cancelled_call_drops_its_late_reply(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        hold = Hold()
        server.script(hold)
        call = asyncio.create_task(db.get("k", "none"))
        await until(hold.arrived.is_set)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        hold.release()
        assert [await db.get("k", n) for n in range(10)] == list(range(10))
        assert server.connections == 1

    run(work, server)


def test_a_call_cancelled_before_its_turn_ends_never_leaves(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        await db.ping()
        call = asyncio.create_task(db.put("k", 1))
        asyncio.get_running_loop().call_soon(call.cancel)  # after its first step, before the write
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await db.get("k", "none") == "none"
        assert "put" not in server.methods()

    run(work, server)


def test_a_timeout_ends_its_own_call_only(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        holds = [Hold(), Hold(), Hold()]
        server.script(*holds)
        slow = [asyncio.create_task(db.get(f"k{n}", n, timeout=seconds)) for n, seconds in enumerate((9, 0.1, 0.2))]
        for hold in holds:
            await until(hold.arrived.is_set)
        began = time.monotonic()
        for task in slow[1:]:
            with pytest.raises(Timeout):
                await task
        assert 0.05 < time.monotonic() - began < 5
        assert await db.get("fast", "yes") == "yes"
        for hold in holds:
            hold.release()
        assert await slow[0] == 0
        assert server.connections == 1

    run(work, server)


def test_a_silent_connection_is_given_up(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:  # FAULTS 20
    monkeypatch.setattr(link_module, "SILENCE_SECONDS", 0.15)

    async def work(db: AsyncClient) -> None:
        await db.ping()
        server.script(*[Hold() for _ in range(3)])
        writing = asyncio.create_task(db.put("k", 1, timeout=30))
        reading = asyncio.create_task(db.get("k", "none", timeout=30))
        await until(lambda: len(server.seen) == 3)
        with pytest.raises(Timeout):
            await db.get("k", timeout=0.2)
        with pytest.raises(Timeout, match="silent"):
            await writing
        assert await reading == "none"
        assert server.connections == 2

    run(work, server)


def test_calls_under_way_when_the_connection_breaks(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        await db.put("k", 0)
        server.script(usual, cut_before)
        outcomes = await asyncio.gather(
            db.put("k", 1), db.put("k", 2), db.get("k"), db.put("k", 3), return_exceptions=True
        )
        assert outcomes[0] == 2
        assert isinstance(outcomes[1], Timeout)
        assert outcomes[2] == 1
        assert isinstance(outcomes[3], Timeout)
        assert server.connections == 2

    run(work, server)


def test_one_attempt_to_connect_serves_all_that_wait(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        await db.ping()
        server.stop()
        calls = [asyncio.create_task(db.get("k", n)) for n in range(50)]
        await asyncio.sleep(0.05)
        assert not any(call.done() for call in calls)
        before = server.connections
        server.start()
        assert await asyncio.gather(*calls) == list(range(50))
        assert server.connections == before + 1

    run(work, server)


def test_a_server_that_does_not_read_holds_the_callers_back(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        await db.ping()
        hold = Hold()
        gate = asyncio.Event()

        def block(*args: object) -> None:
            hold(*args)  # type: ignore[arg-type]
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(20)

        loop = asyncio.get_running_loop()
        server.script(block)
        value = b"x" * 1_000_000
        calls = [asyncio.create_task(db.put(f"k{n}", value, timeout=30)) for n in range(30)]
        await until(hold.arrived.is_set)
        link = await db._links.usable(loop.time() + 5) if db._links._link is None else db._links._link
        await until(lambda: not link.is_writable)
        with pytest.raises(Unavailable, match="takes no more"):
            await db.get("k", timeout=0.1)
        gate.set()
        hold.release()
        assert len(set(await asyncio.gather(*calls))) == 30

    run(work, server)


def test_closing_ends_calls_under_way(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        hold = Hold()
        server.script(hold)
        call = asyncio.create_task(db.put("k", 1))
        await until(hold.arrived.is_set)
        await db.close()
        with pytest.raises(Timeout):
            await call
        with pytest.raises(StoreClosed):
            await db.put("k", 1)
        await db.close()

    run(work, server)


def test_closing_while_connecting(server: ScriptedServer) -> None:
    async def work(db: AsyncClient) -> None:
        calls = [asyncio.create_task(db.get("k")) for _ in range(3)]
        await asyncio.sleep(0)
        await db.close()
        for call in calls:
            with pytest.raises(StoreClosed):
                await call

    run(work, server)


def test_the_next_loop_gets_its_own_connection(server: ScriptedServer) -> None:
    db = AsyncClient(server.address)

    async def use(number: int) -> None:
        await db.put("k", number)
        assert await db.get("k") == number

    async def use_and_close(number: int) -> None:
        await use(number)
        await db.close()

    with asyncio.Runner() as first:
        first.run(use(1))
        with asyncio.Runner() as second:
            second.run(use_and_close(2))
    assert server.connections == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(server: ScriptedServer) -> None:
    with asyncio.Runner() as runner:
        db = AsyncClient(server.address)

        async def write(key: str, value: int) -> None:
            await db.put(key, value)

        async def write_and_read() -> None:
            await db.put("k", 3)
            assert await db.get("child") == 2
            await db.close()

        runner.run(write("k", 1))
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                asyncio.run(write("child", 2))
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        runner.run(write_and_read())
    assert server.connections == 2


def test_uvloop(server: ScriptedServer) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def work() -> None:
        async with AsyncClient(server.address) as db:
            await asyncio.gather(*(db.put(f"k{n}", n) for n in range(100)))
            assert [row async for row in db.scan(limit=3)] == [(b"k0", 0), (b"k1", 1), (b"k10", 10)]
            hold = Hold()
            server.script(hold)
            with pytest.raises(Timeout):
                await db.get("k", timeout=0.05)
            hold.release()
            server.cut_all()
            assert await db.get("k1") == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
