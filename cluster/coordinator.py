"""The coordinator of a cluster on many hosts: one is active, any may take over.

Who is active holds ``PREFIX/coordinator`` on a lease; each change it makes is conditional on that. It makes the
topology if there is none, sees to elections and to who is in sync, and does what it is asked to over the protocol. It
keeps nothing that another one could not find out. Those that stand by listen too, and answer ``ping`` alone.
"""

import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sherd.cluster.administration import administration, standing_by
from sherd.cluster.control import Control
from sherd.cluster.coordinator_config import CoordinatorConfig
from sherd.cluster.elections import Elections
from sherd.cluster.etcd.active import ActiveStore
from sherd.cluster.etcd.api import Absent, Etcd, EtcdRefused, EtcdUnavailable, Holds, Put
from sherd.cluster.etcd.lease import KeptLease
from sherd.cluster.etcd.topology import EtcdTopology
from sherd.cluster.membership import Membership
from sherd.cluster.shape import check_shape, new_cluster_id, new_topology, resized
from sherd.cluster.topology_store import TopologyChanged, change
from sherd.common.logs import event
from sherd.common.net.address import Address, parse_address
from sherd.common.net.loop import loop_factory
from sherd.common.world import World, system_world

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
CAMPAIGN_SECONDS = 0.5
UNHEARD = "etcd does not answer"
UNDONE = "not done, trying again"


class Coordinator:
    """One coordinator process, active or waiting to be. ``run`` ends when it is cancelled."""

    def __init__(
        self, config: CoordinatorConfig, etcd: Etcd, topology: EtcdTopology, lease_seconds: int, world: World
    ) -> None:
        self._config = config
        self._lease_seconds = lease_seconds
        self._etcd = etcd
        self._topology = topology
        self._world = world
        self._complaints: set[str] = set()
        self.active = False

    async def run(self) -> None:
        """Campaign, be active, and again."""
        async with asyncio.TaskGroup() as tasks:
            control = Control(standing_by(), tasks)
            bound = await control.start(self._world.network, parse_address(self._config.listen))
            event(log, logging.INFO, "coordinator runs", name=self._config.name, address=bound)
            tasks.create_task(self._topology.follow())
            try:
                await self._take_turns(control, bound)
            finally:
                control.stop()

    async def _take_turns(self, control: Control, bound: Address) -> None:
        while True:
            lease = KeptLease(self._etcd, self._world.clock, self._world.random, "the coordinator")
            try:
                holds = await self._campaign(lease)
                self._complaints.discard(UNHEARD)
                if holds is not None:
                    await self._act(lease, holds, control, bound)
            except (EtcdUnavailable, EtcdRefused) as error:
                self._complain(UNHEARD, error)
            finally:
                self.active = False
                await lease.end()
            await asyncio.sleep(CAMPAIGN_SECONDS * self._world.random.uniform(0.5, 1.0))

    async def _campaign(self, lease: KeptLease) -> Holds | None:
        """Be the active one, if nobody is: the condition that this is so."""
        key = self._topology.keys.coordinator
        _, found = await self._etcd.read_prefix(key)
        if any(pair.key == key for pair in found):
            return None
        await lease.grant(self._lease_seconds)
        value = json.dumps({"name": self._config.name, "run": self._world.random.getrandbits(63)}).encode()
        if not await self._etcd.transact([Absent(key)], [Put(key, value, lease.id)]):
            return None
        return Holds(key, value)

    async def _act(self, lease: KeptLease, holds: Holds, control: Control, bound: Address) -> None:
        """Coordinate until the lease is over."""
        store = ActiveStore(self._topology, holds)
        elections = Elections(self._etcd, self._topology.keys, store, self._world)
        event(log, logging.WARNING, "coordinating", name=self._config.name)
        self.active = True
        async with asyncio.TaskGroup() as tasks:
            control.serve(administration(store, self._world.network, elections.promote, leased=True))
            work = tasks.create_task(self._work(store, elections, bound))
            keeping = tasks.create_task(lease.keep())
            try:
                await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                control.serve(standing_by())
                work.cancel()
                keeping.cancel()
        event(log, logging.WARNING, "coordinates no more", name=self._config.name)

    async def _work(self, store: ActiveStore, elections: Elections, address: Address) -> None:
        await self._until_done(lambda: self._introduce(store, str(address)))
        membership = Membership(store, self._world.network)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_and_again(elections.look))
            tasks.create_task(self._again_and_again(membership.look))

    async def _again_and_again(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._until_done(look)
            await asyncio.sleep(LOOK_SECONDS * self._world.random.uniform(0.5, 1.0))

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, again where etcd does not answer or somebody else was quicker."""
        while True:
            try:
                await work()
                self._complaints.discard(UNDONE)
                return
            except (EtcdUnavailable, EtcdRefused, TopologyChanged) as error:
                self._complain(UNDONE, error)
            await asyncio.sleep(LOOK_SECONDS)

    def _complain(self, trouble: str, error: Exception) -> None:
        """Log a trouble, once until it is over."""
        if trouble not in self._complaints:
            self._complaints.add(trouble)
            event(log, logging.WARNING, trouble, reason=error)

    async def _introduce(self, store: ActiveStore, bound: str) -> None:
        """Make the topology if there is none; let it say where the coordinator is, and how many followers there are."""
        shape = self._config.shape()
        address = self._config.advertise or bound
        topology = await store.read()
        if topology is None:
            topology = replace(new_topology(shape, new_cluster_id(self._world.random)), coordinator=address)
            await store.compare_and_set(0, topology)
            event(log, logging.INFO, "topology made", shards=len(topology.shards), mode=topology.layout.mode)
            return
        check_shape(shape, topology)
        if topology.coordinator != address:
            await store.compare_and_set(topology.version, topology.with_coordinator(address))
        if (followers := shape.followers) is not None:
            for shard in topology.shards:
                changed = await change(store, shard, lambda state: resized(state, followers))
                if changed is not None:
                    event(
                        log, logging.WARNING, "replicas as the settings have them", shard=shard,
                        before=",".join(sorted(topology.shards[shard].replicas)),
                        replicas=",".join(sorted(changed.replicas)), followers=followers,
                    )  # fmt: skip


OpenTopology = Callable[[World], tuple[Etcd, EtcdTopology]]


def run(config: CoordinatorConfig, open_topology: OpenTopology, lease_seconds: int) -> int:
    """Run one coordinator process until SIGTERM or SIGINT; its exit code."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_main(config, open_topology, lease_seconds))
    return 0


async def _main(config: CoordinatorConfig, open_topology: OpenTopology, lease_seconds: int) -> None:
    loop = asyncio.get_running_loop()
    world = system_world()
    etcd, topology = open_topology(world)
    running = loop.create_task(Coordinator(config, etcd, topology, lease_seconds, world).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        event(log, logging.INFO, "coordinator stops", name=config.name)
    finally:
        await etcd.close()
