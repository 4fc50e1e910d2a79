"""The topology in etcd as the active coordinator changes it: not at all once another one is active."""

from collections.abc import Sequence

from sherd.cluster.etcd.api import Absent, Holds
from sherd.cluster.etcd.topology import EtcdTopology
from sherd.common.topology.state import Topology


class ActiveStore:
    """A ``TopologyStore`` whose every change is conditional on ``active``."""

    def __init__(self, topology: EtcdTopology, active: Holds) -> None:
        self._topology = topology
        self._active = active

    async def read(self) -> Topology | None:
        return await self._topology.read()

    async def watch(self, version: int) -> Topology:
        return await self._topology.watch(version)

    async def compare_and_set(
        self, expected_version: int, topology: Topology, conditions: Sequence[Absent | Holds] = ()
    ) -> None:
        """As ``TopologyStore``, if ``conditions`` hold as well."""
        await self._topology.compare_and_set(expected_version, topology, [self._active, *conditions])
