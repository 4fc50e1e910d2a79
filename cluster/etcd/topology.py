"""The topology of a cluster on many hosts: in etcd, each part under a key of its own (``keys``).

Compare-and-set is one transaction: if the version is as expected, and the conditions hold that came along, the parts
that differ are written, and the next version. One watch serves everybody in the process who waits.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from contextlib import aclosing
from random import Random

from sherd.cluster.etcd.api import Absent, Delete, Etcd, EtcdRefused, EtcdUnavailable, Holds, Put, WatchLost
from sherd.cluster.etcd.keys import Keys
from sherd.cluster.etcd.parts import Parts
from sherd.cluster.topology_store import TopologyChanged
from sherd.common.errors import StoreCorrupt, StoreError
from sherd.common.logs import event
from sherd.common.topology.state import ShardState, Topology

PAUSE_SECONDS_MIN = 0.05
PAUSE_SECONDS_MAX = 2.0

log = logging.getLogger(__name__)


class EtcdTopology:
    """A ``TopologyStore``. One task of the process runs ``follow``, for ``watch`` and ``latest`` to go on.

    All methods raise EtcdUnavailable or EtcdRefused when etcd can't answer, and StoreCorrupt or StoreFormat, which name
    the key, when what is there can't be used.
    """

    def __init__(self, etcd: Etcd, prefix: str, random: Random) -> None:
        self.keys = Keys(prefix)
        self._etcd = etcd
        self._random = random
        self._parts = Parts(self.keys)
        self._latest: Topology | None = None
        self._newer = asyncio.Event()
        self._silent = False
        self._complaint = ""

    @property
    def latest(self) -> Topology | None:
        """The newest topology this process has seen."""
        return self._latest

    async def read(self) -> Topology | None:
        await self._refresh()
        return self._take()

    async def compare_and_set(
        self,
        expected_version: int,
        topology: Topology,
        conditions: Sequence[Absent | Holds] = (),
        changes: Sequence[Put | Delete] = (),
    ) -> None:
        """As ``TopologyStore``. ``changes`` of other keys are made together with it, if ``conditions`` hold as well;
        TopologyChanged if one does not.

        After EtcdUnavailable nobody knows whether it was written: read, and decide anew.
        """
        if topology.version != expected_version + 1:
            raise ValueError(f"version {topology.version} cannot follow {expected_version}")
        before = self._latest
        if before is None or before.version != expected_version:
            before = await self.read()
        present = before.version if before else 0
        if present != expected_version:
            raise TopologyChanged(f"the topology is at version {present}, not {expected_version}")
        held = [self.keys.unchanged(expected_version), *conditions]
        if not await self._etcd.transact(held, [*self.keys.changes(before, topology), *changes]):
            besides = ", or a condition does not hold" if conditions else ""
            raise TopologyChanged(f"the topology is not at version {expected_version}{besides}")
        self._note(topology)

    def as_is(self, state: ShardState) -> Holds | None:
        """The condition that a shard's state in etcd is the one given; None if this process knows another one."""
        return self._parts.as_is(self.keys.shard(state.id), state)

    async def watch(self, version: int) -> Topology:
        while self._latest is None or self._latest.version <= version:
            await self._newer.wait()
        return self._latest

    async def follow(self) -> None:
        """Keep ``latest`` as new as etcd tells. Until cancelled: what goes wrong is logged, and tried again."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            reached = math.inf
            try:
                await self._refresh()
                reached = loop.time()
                self._heard()
                await self._follow_changes()
            except WatchLost as error:
                event(log, logging.INFO, "topology is read anew", reason=error)
            except (EtcdUnavailable, EtcdRefused, StoreError) as error:
                self._not_heard(error)
            failures = 0 if loop.time() - reached > PAUSE_SECONDS_MAX else min(failures + 1, 30)
            pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0**failures)
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))

    async def _follow_changes(self) -> None:
        self._look()
        async with aclosing(self._etcd.watch(self.keys.root, self._parts.revision + 1)) as reported:
            async for changes in reported:
                self._parts.apply(changes)
                self._look()

    async def _refresh(self) -> None:
        """Have the parts as they are now. The version, which is small, tells whether all has to be read."""
        seen = self._parts.revision
        revision, found = await self._etcd.read_prefix(self.keys.version)
        if revision < seen:
            raise StoreCorrupt(
                f"etcd went back from revision {seen} to {revision}, as one restored from a backup does: what this "
                "process knows of the topology is void; restart it"
            )
        version = next((pair for pair in found if pair.key == self.keys.version), None)
        if not self._parts.confirm(revision, version):
            self._parts.replace(*await self._etcd.read_prefix(self.keys.root))

    def _take(self) -> Topology | None:
        """The topology of the parts, which is the latest from then on."""
        topology = self._parts.topology()
        if topology is not None:
            self._note(topology)
        return topology

    def _note(self, topology: Topology) -> None:
        latest = self._latest
        if latest is not None and latest.cluster_id != topology.cluster_id:
            raise StoreCorrupt(
                f"etcd key {self.keys.cluster}: the topology of cluster {topology.cluster_id} "
                f"is where that of {latest.cluster_id} was"
            )
        if latest is None or latest.version < topology.version:
            self._latest = topology
            self._newer.set()
            self._newer = asyncio.Event()

    def _look(self) -> None:
        """Take the topology if it can be used; complain of the same thing once."""
        complaint = ""
        try:
            self._take()
        except StoreError as error:
            complaint = str(error)
            if complaint != self._complaint:
                event(log, logging.ERROR, "topology not usable", reason=error)
        self._complaint = complaint

    def _heard(self) -> None:
        if self._silent:
            event(log, logging.INFO, "etcd answers again")
        self._silent = False

    def _not_heard(self, error: Exception) -> None:
        if not self._silent:
            event(log, logging.WARNING, "etcd cannot be followed", reason=error)
        self._silent = True
