"""A small key-value service and its clients, written as production code is: what the simulator is tried on.

One server keeps a log on its disk, is found through a lease in etcd, and takes requests one after the other; lines of
JSON go both ways. ``careless`` answers before what it says is durable. ``run`` is a whole life of it with faults.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from sherd.cluster.etcd.api import Etcd, EtcdUnavailable, Put
from sherd.common.disk import Disk, File
from sherd.common.net.address import Address, parse_address
from sherd.common.world import World
from sim.history import History, Kind, Outcome
from sim.host import Host
from sim.process import Process
from sim.simulation import Simulation

LOG = "/data/log"
PLACE = "/service"
LEASE_SECONDS = 5
ANSWER_SECONDS = 2.0


class Server:
    """The service in one process, from recovery to its death."""

    def __init__(self, world: World, careless: bool) -> None:
        self._world = world
        self._careless = careless
        self._keys: dict[str, tuple[str, int]] = {}
        self._version = 0
        self._file = self._recover(world.disk)
        self._thread = world.thread("sync")
        self._requests: asyncio.Queue[tuple[Lines, list[Any]]] = asyncio.Queue(maxsize=1000)

    def _recover(self, disk: Disk) -> File:
        disk.mkdir("/data")
        if not disk.exists(LOG):
            disk.create(LOG).close()
            disk.sync_dir("/data")
            disk.sync_dir("/")
        file = disk.open_append(LOG)
        data = file.pread(file.size(), 0)
        kept = 0
        for line in data.splitlines(keepends=True):
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if line.endswith(b"\n") and record[0] == self._version + 1:
                    self._apply(*record)
                    kept += len(line)
                    continue
            break
        file.truncate(kept)
        file.sync()
        file.close()
        return disk.open_append(LOG)

    def _apply(self, version: int, key: str, value: str | None) -> None:
        self._version = version
        if value is None:
            self._keys.pop(key, None)
        else:
            self._keys[key] = (value, version)

    async def serve(self, etcd: Etcd) -> None:
        _, bound = await self._world.network.listen(lambda: Lines(self._take), Address("0.0.0.0", 0))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work())
            group.create_task(self._announce(etcd, f"server:{bound.port}"))

    def _take(self, peer: "Lines", request: list[Any]) -> None:
        self._requests.put_nowait((peer, request))

    async def _work(self) -> None:
        while True:
            peer, (number, *asked) = await self._requests.get()
            version = self._version
            answer = self._answer(*asked)
            if self._version != version:
                syncing = asyncio.get_running_loop().run_in_executor(self._thread, self._file.sync)
                if not self._careless:
                    await syncing
            peer.send([number, *answer])

    def _answer(self, kind: str, key: str, value: str | None, condition: int | None) -> list[Any]:
        """Outcome, value found, version, whether it existed."""
        found, version = self._keys.get(key, (None, 0))
        if kind == "get":
            return ["ok", found, version if found is not None else None, None]
        if condition not in (None, version):
            return ["conflict", None, version, None]
        if kind == "delete" and found is None:
            return ["ok", None, None, False]
        self._file.write(json.dumps([self._version + 1, key, value]).encode() + b"\n")
        self._apply(self._version + 1, key, value)
        return ["ok", None, self._version if kind == "put" else None, True if kind == "delete" else None]

    async def _announce(self, etcd: Etcd, place: str) -> None:
        """Keep the place in etcd, on a lease."""
        while True:
            try:
                lease = await etcd.grant(LEASE_SECONDS)
                await etcd.transact([], [Put(PLACE, place.encode(), lease.id)])
                while await etcd.keep_alive(lease.id):
                    await asyncio.sleep(LEASE_SECONDS / 3)
            except EtcdUnavailable:
                await asyncio.sleep(0.1)


class Lines(asyncio.Protocol):
    """Lines of JSON; ``take`` gets each."""

    def __init__(self, take: "Callable[[Lines, list[Any]], None]") -> None:
        self._take = take
        self._data = b""
        self._transport: Any = None
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            self._take(self, json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, message: list[Any]) -> None:
        self._transport.write(json.dumps(message).encode() + b"\n")

    def abort(self) -> None:
        self._transport.abort()


class Client:
    """Does ``count`` operations on ``keys`` keys, one after the other, and notes what came of them."""

    def __init__(self, world: World, etcd: Etcd, name: str, history: History) -> None:
        self._world = world
        self._etcd = etcd
        self._name = name
        self._history = history
        self._connection: Lines | None = None
        self._answer: asyncio.Future[list[Any]] | None = None
        self._number = 0
        self._version: dict[str, int] = {}

    async def work(self, count: int, keys: int) -> None:
        dice = self._world.random
        for n in range(count):
            key = f"k{dice.randrange(keys)}"
            kind: Kind = dice.choice(("get", "get", "put", "put", "delete"))
            condition = self._version.get(key) if kind != "get" and dice.random() < 0.3 else None
            await self._do(kind, key, f"{self._name}-{n}" if kind == "put" else None, condition)
            await asyncio.sleep(dice.expovariate(10.0))

    async def _do(self, kind: Kind, key: str, value: str | None, condition: int | None) -> None:
        encoded = None if value is None else value.encode()
        number = self._history.begin(self._name, kind, key.encode(), encoded, condition)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                connection = await self._connected()
        except (OSError, TimeoutError, EtcdUnavailable):
            self._history.end(number, Outcome.FAILED)
            return
        self._number += 1
        self._answer = asyncio.get_running_loop().create_future()
        connection.send([self._number, kind, key, value, condition])
        await asyncio.wait([self._answer, connection.closed], timeout=ANSWER_SECONDS, return_when="FIRST_COMPLETED")
        if not self._answer.done():
            connection.abort()
            self._connection = None
            self._history.end(number, Outcome.UNKNOWN)
            return
        outcome, found, version, existed = self._answer.result()
        self._version[key] = version or 0
        found = None if found is None else found.encode()
        self._history.end(number, Outcome(outcome), found, version, existed)

    async def _connected(self) -> Lines:
        if self._connection is None or self._connection.closed.done():
            _, found = await self._etcd.read_prefix(PLACE)
            if not found:
                raise ConnectionError("the service is nowhere")
            address = parse_address(found[0].value.decode())
            self._connection = await self._world.network.connect(lambda: Lines(self._take), address)
        return self._connection

    def _take(self, peer: Lines, answer: list[Any]) -> None:
        if peer is self._connection and self._answer is not None and answer[0] == self._number:
            self._answer.set_result(answer[1:])


class Life:
    """A simulated server host and clients on others, with faults from a seed."""

    def __init__(self, sim: Simulation, careless: bool = False) -> None:
        self.sim = sim
        self.history = History()
        self.dice = sim.scheduler.dice("faults")
        self.server_host = sim.host("server")
        self.server = self._start_server(careless)
        self._careless = careless
        self.clients: list[Process] = []

    def _start(self, host: Host, name: str, main: Callable[[World, Etcd], Any]) -> Process:
        etcd: list[Etcd] = []
        process = host.start(name, lambda world: main(world, etcd[0]))
        etcd.append(self.sim.etcd.client(process))
        return process

    def _start_server(self, careless: bool) -> Process:
        return self._start(self.server_host, "server", lambda world, etcd: Server(world, careless).serve(etcd))

    def start_client(self, name: str, count: int, keys: int) -> None:
        def main(world: World, etcd: Etcd) -> Any:
            return Client(world, etcd, name, self.history).work(count, keys)

        self.clients.append(self._start(self.sim.host(f"host-{name}"), name, main))

    def disturb(self) -> None:
        """One fault, and its end, by chance; the server is started again if it died."""
        dice, fabric, hosts = self.dice, self.sim.fabric, [*self.sim.hosts, "etcd"]
        fault = dice.choice(("kill", "power", "pause", "cut", "cut", "slow disk", "etcd", "none"))
        if fault == "kill":
            self.server.kill()
        elif fault == "power":
            self.server_host.disk.pace.sync_seconds = dice.choice((0.0002, 0.3))
            self.sim.run(1.0)
            self.server_host.power_cut()
            self.sim.run(dice.uniform(0.0, 2.0))
            self.server_host.boot()
        elif fault == "pause":
            self.server.pause()
        elif fault == "cut":
            one, other = dice.sample(hosts, 2)
            fabric.cut(one, other)
            if dice.random() < 0.5:
                fabric.cut(other, one)
        elif fault == "slow disk":
            self.server_host.disk.pace.sync_seconds = 0.3
        elif fault == "etcd":
            self.sim.etcd.change_leader(dice.uniform(0.5, 3.0))
        self.sim.run(dice.expovariate(1.0))
        fabric.heal_all()
        self.server.resume()
        self.server_host.disk.pace.sync_seconds = 200e-6
        if not self.server.alive:
            self.server = self._start_server(self._careless)
        self.sim.run(dice.uniform(0.5, 2.0))


def run(sim: Simulation, careless: bool = False, clients: int = 4, count: int = 200, keys: int = 3) -> History:
    """What ``clients`` saw of a life with faults, each of ``count`` operations."""
    life = Life(sim, careless)
    for n in range(clients):
        life.start_client(f"c{n}", count, keys)
    while any(client.alive for client in life.clients):
        life.disturb()
    return life.history
