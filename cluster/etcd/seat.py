"""The seat of a replica whose cluster is in etcd: leading takes a lease there.

``PREFIX/leases/SHARD`` hangs on the leader's lease. Whoever elects does so only where that key is not there; who was
elected sets it if it still is not there and the shard's state is the one it was elected by. So at most one process at a
time holds the key, and by the time another can, the deadline of the one before is over.
"""

import asyncio
import contextlib
import json
import logging
import math
from dataclasses import replace

from sherd.cluster.etcd.api import Absent, Etcd, EtcdRefused, EtcdUnavailable, Put
from sherd.cluster.etcd.lease import KeptLease
from sherd.cluster.etcd.source import EtcdSource
from sherd.cluster.etcd.topology import EtcdTopology
from sherd.cluster.topology_store import TopologyChanged, change, topology_of
from sherd.common.errors import ConfigError, SherdError, StoreError
from sherd.common.logs import event
from sherd.common.net.stream import ask_once
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId
from sherd.common.world import World

log = logging.getLogger(__name__)

ENLIST_PAUSE_SECONDS_MAX = 2.0
WITHDRAW_SECONDS_MAX = 30.0
"""How long one who can't serve waits for the coordinator to notice, and for another to be elected if it led."""
WITHDRAW_LOOK_SECONDS = 0.2
ENTER_ASK_SECONDS = 1.0
ENTER_LOOK_SECONDS = 1.0


class LeasedSeat(EtcdSource):
    """Of replica ``replica`` of shard ``shard``."""

    leased = True

    def __init__(
        self, etcd: Etcd, topology: EtcdTopology, world: World, shard: ShardId, replica: str, lease_seconds: int
    ) -> None:
        super().__init__(etcd, topology)
        self._world = world
        self._shard = shard
        self._replica = replica
        self._lease_seconds = lease_seconds
        self._lease: KeptLease | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._enlisted = ""
        self._enlisting: asyncio.Task[None] | None = None

    @property
    def deadline(self) -> float:
        return -math.inf if self._lease is None else self._lease.deadline

    async def enter(self) -> None:
        """As ``Seat``: who answers where this replica was last known to serve, and says that it is this replica, is."""
        told = False
        while True:
            topology = await self.read()
            state = topology.shards.get(self._shard)
            address = "" if state is None else state.replicas.get(self._replica, "")
            if not address or not await self._is_served_at(address, topology.cluster_id):
                return
            if not told:
                told = True
                event(
                    log, logging.ERROR, "another process is this replica: waiting for its end", shard=self._shard,
                    replica=self._replica, address=address,
                )  # fmt: skip
            await asyncio.sleep(ENTER_LOOK_SECONDS)

    async def _is_served_at(self, address: str, cluster: str) -> bool:
        try:
            match await ask_once(self._world.network, address, "status", [], ENTER_ASK_SECONDS):
                case {"cluster": found, "id": self._shard, "replica": self._replica}:
                    return bool(found == cluster)
        except (OSError, TimeoutError, SherdError) as error:
            event(log, logging.DEBUG, "nobody is this replica", address=address, reason=error)
        return False

    async def enlist(self, address: str) -> None:
        """As ``Seat``; it is done as soon as etcd answers, and nobody waits for that."""
        if address != self._enlisted:  # the next life may have got another port
            await _ended(self._enlisting)
            self._enlisted = address
            self._enlisting = asyncio.get_running_loop().create_task(self._enlist(address))

    async def claim(self, state: ShardState) -> bool:
        await self.resign()
        as_is = self._topology.as_is(state)
        if as_is is None:
            return False
        lease = KeptLease(self._etcd, self._world.clock, self._world.random, f"the leader of shard {self._shard}")
        await lease.grant(self._lease_seconds)
        key = self._topology.keys.lease(self._shard)
        value = json.dumps({"replica": self._replica, "term": state.term}).encode()
        try:
            claimed = await self._etcd.transact([Absent(key), as_is], [Put(key, value, lease.id)])
        except BaseException:  # perhaps it was done: without its lease it comes to nothing
            await lease.end()
            raise
        if not claimed:
            await lease.end()
            return False
        self._lease = lease
        self._keeping = asyncio.get_running_loop().create_task(lease.keep())
        return True

    async def resign(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            await _ended(self._keeping)
            await lease.end()

    async def withdraw(self) -> Topology:
        """As ``Seat``: waits while this replica is counted on, and then changes the shard's state, so that a change by
        somebody who saw it before, and would count on it again, comes to nothing. Raises when etcd does not answer.
        """
        deadline = self._world.clock.monotonic() + WITHDRAW_SECONDS_MAX
        waiting = False
        while True:
            topology = await topology_of(self._topology)
            state = topology.shards.get(self._shard)
            if state is None or self._replica not in state.replicas:
                return topology
            if state.leader != self._replica and self._replica not in state.in_sync:
                with contextlib.suppress(TopologyChanged):
                    left = topology.with_shard(self._listed(state, ""))
                    await self._topology.compare_and_set(topology.version, left)
                    return left
                continue
            if self._world.clock.monotonic() > deadline:
                return topology
            if not waiting:
                waiting = True
                event(
                    log, logging.ERROR, "can't serve what it holds, waiting until the others do without it",
                    shard=self._shard, replica=self._replica, leader=state.leader, in_sync=",".join(state.in_sync),
                    seconds_max=WITHDRAW_SECONDS_MAX,
                )  # fmt: skip
            await asyncio.sleep(WITHDRAW_LOOK_SECONDS)

    async def close(self) -> None:
        await _ended(self._enlisting)
        await self.resign()
        await super().close()

    async def _enlist(self, address: str) -> None:
        pause = 0.05
        while True:
            try:
                await change(self._topology, self._shard, lambda state: self._listed(state, address))
                return
            except (EtcdUnavailable, EtcdRefused, StoreError) as error:
                event(log, logging.WARNING, "not known to the others yet, trying again", address=address, reason=error)
            await asyncio.sleep(pause * self._world.random.uniform(0.5, 1.0))
            pause = min(2 * pause, ENLIST_PAUSE_SECONDS_MAX)

    def _listed(self, state: ShardState, address: str) -> ShardState:
        if self._replica not in state.replicas:
            raise ConfigError(f"shard {self._shard} has no replica {self._replica!r} in the topology")
        return replace(state, replicas={**state.replicas, self._replica: address})


async def _ended(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task and wait for its end."""
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
