"""The network: bytes in order however they travel, flow control, and every way in which a connection ends."""

import asyncio
import errno
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sherd.common.net.address import Address
from sherd.common.world import World
from sim.pace import Pace
from sim.process import Process
from sim.simulation import Simulation

AT = Address("server", 7700)
FOREVER = 1e6


class Recorder(asyncio.Protocol):
    """Notes what it is told, and when."""

    def __init__(self, echo: bool = False) -> None:
        self.loop = asyncio.get_running_loop()
        self.echo = echo
        self.half_open = False
        self.data = b""
        self.chunks = 0
        self.events: list[str] = []
        self.error: Exception | None = None
        self.closed = asyncio.Event()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.chunks += 1
        if self.echo:
            self.transport.write(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.half_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.error = exc
        self.closed.set()


class Net:
    """Two hosts with a process each that waits, one of them listening; the protocols of all connections."""

    def __init__(self, sim: Simulation, echo: bool = False) -> None:
        self.sim = sim
        self.accepted: list[Recorder] = []
        self.near: list[Recorder] = []
        self.failures: list[OSError] = []
        self.echo = echo
        self.server = sim.host("server").start("server", self.listen)
        self.client = sim.host("client").start("client", self.wait)
        sim.run(0.01)

    async def listen(self, world: World) -> None:
        def factory() -> Recorder:
            self.accepted.append(Recorder(self.echo))
            return self.accepted[-1]

        _, bound = await world.network.listen(factory, AT)
        assert bound == AT
        await asyncio.sleep(FOREVER)

    async def wait(self, world: World) -> None:
        await asyncio.sleep(FOREVER)

    def connect(self, address: Address = AT) -> None:
        async def open_it() -> None:
            network = self.client.loop.network
            assert network is not None
            try:
                self.near.append(await network.connect(Recorder, address))
            except OSError as error:
                self.failures.append(error)

        self.do(self.client, lambda: self.client.loop.create_task(open_it()))

    def connected(self) -> tuple[Recorder, Recorder]:
        self.connect()
        count = len(self.accepted) + 1
        self.sim.run_until(lambda: len(self.accepted) == len(self.near) == count, 1.0)
        return self.near[-1], self.accepted[-1]

    def do(self, process: Process, action: Callable[[], object]) -> None:
        process.loop.call_soon(action)


def test_bytes_arrive_whole_in_order_and_cut_anyhow() -> None:
    with Simulation(seed=1) as sim:
        net = Net(sim, echo=True)
        near, far = net.connected()
        sent = b"".join(f"{number},".encode() for number in range(5000))
        for start in range(0, len(sent), 700):
            net.do(net.client, partial(near.transport.write, sent[start : start + 700]))
            sim.run(0.0002)
        sim.run(1.0)
        assert near.data == far.data == sent
        assert 5 < far.chunks != len(sent) // 700 + 1, "some pieces were joined, some cut"
        assert near.transport.get_extra_info("peername") == ("server", 7700)
        assert far.transport.get_extra_info("peername")[0] == "client"


def test_a_closed_connection_ends_at_both_sides_after_its_last_byte() -> None:
    with Simulation(seed=1) as sim:
        net = Net(sim)
        near, far = net.connected()
        net.do(net.client, lambda: (near.transport.write(b"x" * 3_000_000), near.transport.close()))
        sim.run(2.0)
        assert len(far.data) == 3_000_000
        assert near.events == ["made", "pause", "resume", "lost"]
        assert far.events == ["made", "eof", "lost"]
        assert near.error is None
        assert far.error is None


def test_an_abort_drops_what_is_buffered() -> None:
    with Simulation(seed=1) as sim:
        net = Net(sim)
        near, far = net.connected()
        net.do(net.client, lambda: (near.transport.write(b"x" * 3_000_000), near.transport.abort()))
        sim.run(2.0)
        assert 0 < len(far.data) < 3_000_000
        assert near.events[-1] == far.events[-1] == "lost"


def test_a_half_closed_connection_still_carries_the_other_way() -> None:
    with Simulation(seed=1) as sim:
        net = Net(sim)
        near, far = net.connected()
        far.half_open = True
        net.do(net.client, lambda: (near.transport.write(b"question"), near.transport.write_eof()))
        sim.run(0.1)
        assert far.events == ["made", "eof"]
        net.do(net.server, lambda: (far.transport.write(b"answer"), far.transport.close()))
        sim.run(0.1)
        assert near.data == b"answer"
        assert near.events == ["made", "eof", "lost"]


def test_who_does_not_read_holds_up_the_writer() -> None:
    with Simulation(seed=1, pace=Pace(window_bytes=1000)) as sim:
        net = Net(sim)
        near, far = net.connected()
        net.do(net.server, far.transport.pause_reading)
        net.do(net.client, lambda: near.transport.set_write_buffer_limits(high=5000))
        net.do(net.client, lambda: near.transport.write(b"x" * 10_000))
        sim.run(1.0)
        assert near.events == ["made", "pause"]
        assert near.transport.get_write_buffer_size() == 9000
        assert far.data == b""
        net.do(net.server, far.transport.resume_reading)
        sim.run(1.0)
        assert near.events == ["made", "pause", "resume"]
        assert far.data == b"x" * 10_000


def test_a_stopped_process_takes_bytes_and_connections_later() -> None:
    with Simulation(seed=1) as sim:
        net = Net(sim)
        near, far = net.connected()
        net.server.pause()
        net.do(net.client, lambda: near.transport.write(b"x"))
        net.connect()
        sim.run(1.0)
        assert far.data == b""
        assert len(net.near) == 2, "the kernel opens connections by itself"
        assert len(net.accepted) == 1
        net.server.resume()
        sim.run(0.1)
        assert far.data == b"x"
        assert len(net.accepted) == 2


def test_nobody_listens() -> None:
    with Simulation(seed=1) as sim:
        net = Net(sim)
        net.connect(Address("server", 1))
        net.connect(Address("nowhere", 1))
        net.connect(Address(path="/none"))
        sim.run(1.0)
        assert sorted(type(error).__name__ for error in net.failures) == [
            "ConnectionRefusedError", "ConnectionRefusedError", "gaierror",
        ]  # fmt: skip


def test_addresses_are_taken_shared_and_freed() -> None:
    async def main(world: World) -> None:
        network = world.network
        server, bound = await network.listen(Recorder, Address("127.0.0.1", 0))
        assert bound.port > 0
        with pytest.raises(OSError, match="in use"):
            await network.listen(Recorder, bound, shared=True)
        server.close()
        await network.listen(Recorder, bound, shared=True)
        await network.listen(Recorder, bound, shared=True)
        await network.connect(Recorder, bound)
        with pytest.raises(OSError, match="assign"):
            await network.listen(Recorder, Address("elsewhere", 0))
        await network.listen(Recorder, Address(path="/run/x"))
        await network.connect(Recorder, Address(path="/run/x"))

    with Simulation(seed=1) as sim:
        sim.run_to_end(sim.host("a").start("p", main), 5.0)
        sim.run_to_end(sim.host("a").start("again", main), 5.0)


@pytest.mark.parametrize("way", [("client", "server"), ("server", "client")])
def test_a_short_cut_delays_and_loses_nothing(way: tuple[str, str]) -> None:
    with Simulation(seed=2) as sim:
        net = Net(sim, echo=True)
        near, far = net.connected()
        sim.fabric.cut(*way)
        net.do(net.client, lambda: near.transport.write(b"hello"))
        sim.run(10.0)
        assert near.data == b""
        assert far.data == (b"" if way[0] == "client" else b"hello")
        sim.fabric.heal(*way)
        sim.run(4.0)
        assert near.data == b"hello"
        assert near.events == far.events == ["made"]


@pytest.mark.parametrize("way", [("client", "server"), ("server", "client")])
def test_a_long_cut_breaks_the_connection_at_both_ends_by_and_by(way: tuple[str, str]) -> None:
    with Simulation(seed=3) as sim:
        net = Net(sim)
        near, far = net.connected()
        net.do(net.client, lambda: near.transport.write(b"hello"))
        sim.run(1.0)
        sim.fabric.cut(*way)
        net.do(net.client, lambda: near.transport.write(b"world"))
        sim.run(10.0)
        assert near.events == ["made"]
        sim.run(240.0)
        for end in (near, far):
            assert isinstance(end.error, OSError)
            assert end.error.errno == errno.ETIMEDOUT


def test_ways_that_heal_one_after_the_other_are_whole_again() -> None:
    for first, second in ((("client", "server"), ("server", "client")), (("server", "client"), ("client", "server"))):
        with Simulation(seed=2) as sim:
            net = Net(sim)
            near, far = net.connected()
            sim.fabric.cut_between("client", "server")
            net.do(net.client, partial(near.transport.write, b"hello"))
            sim.run(5.0)
            sim.fabric.heal(*first)
            sim.run(5.0)
            sim.fabric.heal(*second)
            sim.run(300.0)
            assert far.data == b"hello"
            assert near.events == far.events == ["made"]


def test_a_connection_that_breaks_while_it_closes_is_lost_at_once() -> None:
    with Simulation(seed=2, pace=Pace(window_bytes=1000)) as sim:
        net = Net(sim)
        near, far = net.connected()
        net.do(net.server, far.transport.pause_reading)
        net.do(net.client, partial(near.transport.write, b"x" * 10_000))
        net.do(net.client, near.transport.close)
        sim.run(1.0)
        assert near.events == ["made"]
        net.server.kill()
        sim.run(1.0)
        assert near.events == ["made", "lost"]
        assert isinstance(near.error, ConnectionResetError)


def test_a_connection_through_a_cut_takes_until_it_heals_or_for_ever() -> None:
    with Simulation(seed=3) as sim:
        net = Net(sim)
        sim.fabric.cut_between("client", "server")
        net.connect()
        sim.run(30.0)
        assert not net.near
        sim.fabric.heal_all()
        sim.run(40.0)
        assert len(net.near) == 1
        sim.fabric.isolate("server")
        net.connect()
        sim.run(300.0)
        assert isinstance(net.failures[0], TimeoutError)


def test_a_cancelled_connect_leaves_nothing_open() -> None:
    async def main(world: World) -> None:
        for seconds in (0.0, 0.0002, 0.0005, 0.0008, 0.001, 0.002):
            attempt = asyncio.get_running_loop().create_task(world.network.connect(Recorder, AT))
            await asyncio.sleep(seconds)
            attempt.cancel()
            result = await asyncio.gather(attempt, return_exceptions=True)
            if isinstance(result[0], Recorder):
                result[0].transport.abort()

    with Simulation(seed=3) as sim:
        net = Net(sim)
        sim.run_to_end(sim.host("client").start("impatient", main), 10.0)
        sim.run(1.0)
        assert all(end.events[-1] == "lost" for end in net.accepted)


def test_a_killed_process_resets_or_ends_its_connections() -> None:
    seen = set()
    for seed in range(20):
        with Simulation(seed) as sim:
            net = Net(sim)
            near, far = net.connected()
            net.do(net.server, partial(far.transport.write, b"last words"))
            sim.run(0.001)
            net.server.kill()
            sim.run(1.0)
            assert near.data == b"last words"
            assert near.events[-1] == "lost"
            seen.add(type(near.error))
            net.connect()
            sim.run(1.0)
            assert isinstance(net.failures[0], ConnectionRefusedError)
    assert seen == {type(None), ConnectionResetError}


def test_unread_bytes_of_a_killed_process_are_a_reset() -> None:
    for seed in range(5):
        with Simulation(seed) as sim:
            net = Net(sim)
            near, far = net.connected()
            net.do(net.server, far.transport.pause_reading)
            net.do(net.client, partial(near.transport.write, b"x"))
            sim.run(0.1)
            net.server.kill()
            sim.run(0.1)
            assert isinstance(near.error, ConnectionResetError)


def test_a_dead_host_is_silent_until_keepalive_or_its_return_tells() -> None:
    for wait, kind in ((200.0, TimeoutError), (1.0, ConnectionResetError)):
        with Simulation(seed=4) as sim:
            net = Net(sim)
            near, _ = net.connected()
            sim.host("server").power_cut()
            net.do(net.client, partial(near.transport.write, b"are you there"))
            sim.run(wait)
            if wait < 10.0:
                assert near.events == ["made"]
                sim.host("server").boot()
                sim.run(10.0)
            assert isinstance(near.error, kind)


def test_an_idle_connection_to_a_host_that_came_back_is_found_by_keepalive() -> None:
    with Simulation(seed=4) as sim:
        net = Net(sim)
        near, _ = net.connected()
        sim.host("server").power_cut()
        sim.host("server").boot()
        sim.run(20.0)
        assert near.events == ["made"]
        sim.run(60.0)
        assert isinstance(near.error, ConnectionResetError)


def test_a_reset_breaks_both_ends_and_no_other_connection() -> None:
    with Simulation(seed=4) as sim:
        net = Net(sim)
        near, far = net.connected()
        sim.host("other")
        sim.fabric.reset_between("client", "other")
        sim.run(0.1)
        assert near.events == ["made"]
        sim.fabric.reset_between("client", "server")
        sim.run(0.1)
        assert isinstance(near.error, ConnectionResetError)
        assert isinstance(far.error, ConnectionResetError)


def test_delay_and_throttle() -> None:
    with Simulation(seed=4) as sim:
        net = Net(sim)
        near, far = net.connected()
        sim.fabric.delays["client", "server"] = 3.0
        net.do(net.client, lambda: near.transport.write(b"x"))
        sim.run(2.9)
        assert far.data == b""
        sim.run(0.2)
        assert far.data == b"x"
        sim.fabric.delays.clear()
        sim.fabric.rates["client", "server"] = 1000.0
        net.do(net.client, lambda: near.transport.write(b"y" * 10_000))
        sim.run(4.0)
        assert len(far.data) < 10_000
        sim.run(7.0)
        assert len(far.data) == 10_001


def test_streams_and_errors_in_protocols() -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("not understood")

    async def main(world: World) -> None:
        _, bound = await world.network.listen(Failing, Address("127.0.0.1", 0))
        reader, writer = await asyncio.open_connection("127.0.0.1", bound.port)
        writer.write(b"line\n")
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    sim = Simulation(seed=1)
    sim.run_to_end(sim.host("a").start("p", main), 5.0)
    sim.close()
    assert ["not understood" in text for text in sim.errors()] == [True]
