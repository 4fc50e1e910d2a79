"""A whole cluster on many hosts, in the simulator: production's shards, followers, coordinators and proxies.

Each replica, coordinator and proxy has a host of its own; a process that ends is started again by and by, as systemd
does. What is simulated is beneath them: time, network, disks, etcd and the janitors' processes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from sherd.cluster.coordinator import Coordinator
from sherd.cluster.coordinator_config import CoordinatorConfig
from sherd.cluster.etcd.api import Etcd
from sherd.cluster.etcd.seat import LeasedSeat
from sherd.cluster.etcd.source import EtcdSource
from sherd.cluster.etcd.topology import EtcdTopology
from sherd.common.errors import SherdError
from sherd.common.types import ShardId
from sherd.common.world import World
from sherd.proxy.bounds import Bounds
from sherd.proxy.config import ProxyConfig
from sherd.proxy.main import Proxy
from sherd.shard.config import ShardConfig
from sherd.shard.janitor_process import JanitorProcess
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.worker import Worker, live
from sim.host import Host
from sim.janitor import SimJanitor
from sim.process import Process
from sim.simulation import Simulation

PREFIX = "sherd"
PORT = 7700
LEASE_SECONDS = 3
RESTART_SECONDS = (0.1, 1.5)
ENGINE = EngineOptions(
    memtable_bytes=64 << 10, table_bytes=32 << 10, level_base_bytes=256 << 10, block_bytes=4 << 10,
    cache_bytes=1 << 20, retain_log_bytes=256 << 10,
)  # fmt: skip

Main = Callable[[World, Etcd], Awaitable[object]]


@dataclass(frozen=True)
class Shape:
    """Of a cluster. ``acks`` and ``fsync`` are what its shards are told."""

    shards: int = 1
    followers: int = 1
    coordinators: int = 2
    proxies: int = 1
    acks: str = "insync"
    fsync: str = "always"
    engine: EngineOptions = field(default_factory=lambda: ENGINE)


class Kept:
    """A process that is started again when it has ended, as long as its host is up. ``failures``: what ended it."""

    def __init__(self, sim: Simulation, host: Host, name: str, main: Main) -> None:
        self._sim = sim
        self._main = main
        self._dice = sim.scheduler.dice("keeper", name)
        self.host = host
        self.name = name
        self.failures: list[BaseException] = []
        self.process = self.start()

    def start(self) -> Process:
        """Start it, now."""
        given: list[Etcd] = []
        process = self.host.start(self.name, lambda world: _run(self._main, world, given))
        given.append(self._sim.etcd.client(process))
        process.on_death(lambda: self._sim.scheduler.after(self._dice.uniform(*RESTART_SECONDS), self._again, process))
        self.process = process
        return process

    def _again(self, ended: Process) -> None:
        if ended.failure is not None:
            self.failures.append(ended.failure)
        if self._sim.fabric.is_up(self.host.name):
            self.start()
        else:
            self._sim.scheduler.after(self._dice.uniform(*RESTART_SECONDS), self._again, ended)


async def _run(main: Main, world: World, given: list[Etcd]) -> None:
    await main(world, given[0])


class Cluster:
    """All processes of one cluster. ``on_born`` is told of each life of a replica: its host, its shard, its worker."""

    def __init__(self, sim: Simulation, shape: Shape) -> None:
        self.sim = sim
        self.shape = shape
        self.workers: dict[str, Worker] = {}
        self.on_born: Callable[[str, int, Worker], None] | None = None
        self.coordinators = [
            self._keep(f"c{n}", partial(self._coordinate, f"c{n}")) for n in range(1, shape.coordinators + 1)
        ]
        self.replicas = [
            self._keep(f"s{shard}r{replica}", partial(self._serve, shard, str(replica)))
            for shard in range(1, shape.shards + 1)
            for replica in range(1, shape.followers + 2)
        ]
        self.proxies = [self._keep(f"p{n}", partial(self._proxy, f"p{n}")) for n in range(1, shape.proxies + 1)]

    @property
    def kept(self) -> list[Kept]:
        return [*self.coordinators, *self.replicas, *self.proxies]

    def proxy_address(self, number: int) -> str:
        return f"p{number}:{PORT}"

    def resize(self, followers: int) -> None:
        """Start more replicas, and all coordinators again, with so many followers."""
        before, self.shape = self.shape.followers, replace(self.shape, followers=followers)
        for coordinator in self.coordinators:
            coordinator.process.kill()
        self.replicas += [
            self._keep(f"s{shard}r{replica}", partial(self._serve, shard, str(replica)))
            for shard in range(1, self.shape.shards + 1)
            for replica in range(before + 2, followers + 2)
        ]

    def double(self, shard: int, replica: str, name: str) -> Kept:
        """Start another process that is told to be a replica that there is, on a host of that name."""
        return self._keep(name, partial(self._serve, shard, replica, name=name))

    def _keep(self, name: str, main: Main) -> Kept:
        return Kept(self.sim, self.sim.host(name), name, main)

    async def _coordinate(self, name: str, world: World, etcd: Etcd) -> None:
        config = CoordinatorConfig(
            listen=f"{name}:{PORT}", name=name, shards=self.shape.shards, followers=self.shape.followers
        )
        topology = EtcdTopology(etcd, PREFIX, world.random)
        await Coordinator(config, etcd, topology, LEASE_SECONDS, world).run()

    async def _serve(self, shard: int, replica: str, world: World, etcd: Etcd, name: str = "") -> int:
        name = name or f"s{shard}r{replica}"
        host = self.sim.hosts[name]
        config = ShardConfig(
            shard, "/data", f"{name}:{PORT}", replica=replica, acks=self.shape.acks,
            engine=replace(self.shape.engine, fsync=self.shape.fsync),
        )  # fmt: skip
        topology = EtcdTopology(etcd, PREFIX, world.random)
        seat = LeasedSeat(etcd, topology, world, ShardId(shard), replica, LEASE_SECONDS)

        async def spawn(directory: str, options: EngineOptions, parent_pid: int) -> JanitorProcess:
            return Child(SimJanitor(host, process, directory, options))

        def born(worker: Worker) -> None:
            self.workers[name] = worker
            if self.on_born is not None:
                self.on_born(name, shard, worker)

        process = next(one for one in reversed(host.processes) if one.pid == world.pid)
        return await live(config, seat, world, spawn, born)

    async def _proxy(self, name: str, world: World, etcd: Etcd) -> None:
        config = ProxyConfig(f"{name}:{PORT}", name=name, bounds=Bounds(failover_hold_s=LEASE_SECONDS + 2.0))
        source = EtcdSource(etcd, EtcdTopology(etcd, PREFIX, world.random))
        topology = await source.read()
        async with asyncio.TaskGroup() as group:
            proxy = Proxy(config, world, source, topology, group)
            await proxy.start()


class Child:
    """A simulated janitor as production's ``JanitorProcess``."""

    def __init__(self, janitor: SimJanitor) -> None:
        self._janitor = janitor

    @property
    def pid(self) -> int:
        return self._janitor.pid

    @property
    def listens(self) -> bool:
        return not self._janitor.is_closing()

    def write(self, data: bytes) -> None:
        if self.listens:
            self._janitor.write(data)

    async def read(self) -> bytes:
        return await self._janitor.read()

    def cpu_ticks(self) -> int | None:
        return self._janitor.busy()

    def kill(self) -> None:
        self._janitor.kill()

    async def end(self) -> int:
        self._janitor.close()
        return await self._janitor.wait()


def explain(failures: list[BaseException]) -> list[BaseException]:
    """Those of ``failures`` that are bugs: a process may refuse to start, or be told that it can't go on."""
    return [failure for failure in failures if not isinstance(failure, (SherdError, OSError, asyncio.CancelledError))]
