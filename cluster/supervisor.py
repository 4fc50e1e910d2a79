"""A whole cluster on this machine: starts its processes, keeps them alive, stops them in order.

Shards listen on unix sockets in a private directory, proxies on one shared port. Before every start of a shard its
term is raised in the topology, by compare-and-set, so that no two processes ever lead a shard in the same term; and a
shard is started only after the one before it was reaped, so that no directory ever has two owners.

A process that refuses to start for a lasting reason ends the whole cluster while it is starting; once all have served,
that process stays down, the others go on, and the supervisor's exit code tells at the end.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sherd.cluster.administration import administration
from sherd.cluster.config import ClusterConfig
from sherd.cluster.control import Control
from sherd.cluster.damaged_replica import do_without
from sherd.cluster.data_dir import DataDir
from sherd.cluster.keeper import Keeper, Refusal, RestartPolicy
from sherd.cluster.membership import Membership
from sherd.cluster.probe import Probe, ping
from sherd.cluster.replicas import Replicas
from sherd.cluster.reserved_port import ReservedPort
from sherd.cluster.runtime_dir import RuntimeDir, remove_stale
from sherd.cluster.topology_file import TopologyFile
from sherd.cluster.topology_store import topology_of
from sherd.common.exit_codes import ExitCode
from sherd.common.logs import event
from sherd.common.net.address import UNIX_PREFIX, Address, parse_address
from sherd.common.topology.state import ShardState, Topology
from sherd.common.world import World

log = logging.getLogger(__name__)

Task = asyncio.Task[Refusal | None]


@dataclass(frozen=True, slots=True)
class Programs:
    """How to start a shard and a proxy: the command that flags are added to, the settings they share, their
    environment."""

    shard: Sequence[str]
    proxy: Sequence[str]
    environ: Mapping[str, str]


class Supervisor:
    """Runs one cluster. ``announce`` is told the clients' address and the topology once everything serves; ``probe``
    asks shards whether they still answer."""

    def __init__(
        self,
        config: ClusterConfig,
        programs: Programs,
        announce: Callable[[Address, Topology], None],
        world: World,
        probe: Probe | None = ping,
    ) -> None:
        self._config = config
        self._programs = programs
        self._announce = announce
        self._world = world
        self._probe = probe
        self._stop = asyncio.Event()
        self._keepers: dict[Keeper, Task] = {}
        self._refusals: list[Refusal] = []

    async def run(self) -> int:
        """Serve until SIGINT or SIGTERM; the exit code. A second signal kills what is still there.

        StoreError or ConfigError if the directory cannot be used, AddressTaken if the port cannot.
        """
        with DataDir(self._world.disk, self._config.data) as data, contextlib.ExitStack() as held:
            port = ReservedPort(parse_address(self._config.listen))
            held.callback(port.close)
            store = await data.open_topology(self._config)
            remove_stale(
                address for state in (await topology_of(store)).shards.values() for address in state.replicas.values()
            )
            sockets = RuntimeDir(dict(os.environ))
            held.callback(sockets.remove)
            with self._signals():
                async with asyncio.TaskGroup() as tasks:
                    await self._serve(tasks, data, store, port, sockets)
        return ExitCode.SERVER_ERROR if self._refusals else ExitCode.OK

    @property
    def refusals(self) -> Sequence[Refusal]:
        """The processes that were given up, with the reasons."""
        return self._refusals

    async def _serve(
        self, tasks: asyncio.TaskGroup, data: DataDir, store: TopologyFile, port: ReservedPort, sockets: RuntimeDir
    ) -> None:
        replicas = Replicas(store, self._world.network)
        control = Control(administration(store, self._world.network, replicas.promote, leased=False), tasks)
        address = await control.start(self._world.network, parse_address(sockets.socket_address("coordinator")))
        topology = await topology_of(store)
        await store.compare_and_set(topology.version, topology.with_coordinator(str(address)))
        shards = [
            self._replica_keeper(data, store, replicas, sockets, state, name)
            for _, state in sorted(topology.shards.items())
            for name in sorted(state.replicas)
        ]
        proxies = [self._proxy_keeper(store, port, number) for number in range(1, self._config.proxies + 1)]
        if await self._start(tasks, shards) and await replicas.all_led() and await self._start(tasks, proxies):
            self._announce(port.address, await topology_of(store))
            membership = tasks.create_task(Membership(store, self._world.network).run())
            await self._watch(shards, proxies)
            membership.cancel()
        event(log, logging.INFO, "stopping")
        control.stop()
        await self._stop_all(proxies)
        await self._stop_all(shards)
        event(log, logging.INFO, "stopped")

    async def _start(self, tasks: asyncio.TaskGroup, keepers: Sequence[Keeper]) -> bool:
        """Start processes side by side; True when all serve, False when told to stop or one refused."""
        for keeper in keepers:
            self._keepers[keeper] = tasks.create_task(keeper.run(), name=keeper.name)
        async with asyncio.TaskGroup() as waits:
            served = [waits.create_task(keeper.served.wait()) for keeper in keepers]
            stopped = waits.create_task(self._stop.wait())
            pending = set(served)
            while pending:
                running = {task for task in self._keepers.values() if not task.done()}
                await asyncio.wait({*pending, stopped, *running}, return_when=asyncio.FIRST_COMPLETED)
                pending = {wait for wait in pending if not wait.done()}
                if self._stop.is_set() or self._note_refusals():
                    break
            for wait in (*served, stopped):
                wait.cancel()
        return not pending and not self._refusals and not self._stop.is_set()

    async def _watch(self, *groups: Sequence[Keeper]) -> None:
        """Until told to stop, or until none of a group is left to keep."""
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            while not self._stop.is_set():
                running = [{self._keepers[keeper] for keeper in group} for group in groups]
                running = [{task for task in tasks if not task.done()} for tasks in running]
                if not all(running):
                    break
                await asyncio.wait({stopped, *set().union(*running)}, return_when=asyncio.FIRST_COMPLETED)
                for refusal in self._note_refusals():
                    event(
                        log, logging.ERROR, "process stays down, the others serve on",
                        name=refusal.name, reason=refusal.reason,
                    )  # fmt: skip
        finally:
            stopped.cancel()

    def _note_refusals(self) -> list[Refusal]:
        """Take up the refusals of processes that are kept no longer; the new ones."""
        found = []
        for task in self._keepers.values():
            refusal = task.result() if task.done() else None
            if refusal is not None and refusal not in self._refusals:
                found.append(refusal)
        self._refusals.extend(found)
        return found

    async def _stop_all(self, keepers: Sequence[Keeper]) -> None:
        for keeper in keepers:
            keeper.stop()
        tasks = [self._keepers[keeper] for keeper in keepers if keeper in self._keepers]
        if tasks:
            await asyncio.wait(tasks)

    def _replica_keeper(
        self,
        data: DataDir,
        store: TopologyFile,
        replicas: Replicas,
        sockets: RuntimeDir,
        state: ShardState,
        name: str,
    ) -> Keeper:
        shard = state.id
        label = f"shard-{shard}" if len(state.replicas) == 1 else f"shard-{shard}-{name}"
        address = sockets.socket_address(label)

        async def prepare() -> list[str]:
            await replicas.until_taken_over(shard, name)
            await replicas.begin(shard, name, address)
            # The one who bound it is gone, and can't have cleaned up if it was killed.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address.removeprefix(UNIX_PREFIX))
            flags = {
                "id": shard, "replica": name, "data": data.replica_path(shard, name), "listen": address,
                "topology": store.path, "acks": self._config.acks, "min-insync": self._config.min_insync,
            }  # fmt: skip
            return [*self._programs.shard, *(f"--{flag}={value}" for flag, value in flags.items())]

        async def buried(code: int) -> bool:
            try:
                if code == ExitCode.CORRUPT:
                    return await do_without(store, replicas, shard, name, self._config.ready_seconds_max)
                await replicas.bury(shard, name)
            except OSError as error:  # then it leads again once it is restarted, as it does where there is no follower
                event(log, logging.ERROR, "no failover: the topology cannot be written", name=label, error=error)
            return False

        return Keeper(label, prepare, self._programs.environ, self._policy(), self._world.clock, self._probe, buried)

    def _proxy_keeper(self, store: TopologyFile, port: ReservedPort, number: int) -> Keeper:
        name = f"proxy-{number}"

        async def prepare() -> list[str]:
            flags = {"name": name, "listen": port.address, "topology": store.path}
            return [*self._programs.proxy, *(f"--{flag}={value}" for flag, value in flags.items())]

        return Keeper(name, prepare, self._programs.environ, self._policy(), self._world.clock)

    def _policy(self) -> RestartPolicy:
        config = self._config
        return RestartPolicy(
            config.ready_seconds_max,
            config.answer_seconds_max,
            config.restart_seconds_min,
            config.restart_seconds_max,
            config.stable_seconds,
            config.stop_seconds_max,
        )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """What a signal does: stop in order; when told again, kill."""
        if self._stop.is_set():
            event(log, logging.WARNING, "told to stop again, killing what is left")
            for keeper in self._keepers:
                keeper.kill()
        self._stop.set()
