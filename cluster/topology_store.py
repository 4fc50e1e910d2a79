"""Where the cluster's topology lives, behind compare-and-set and watch.

A store hands out immutable ``Topology`` values. Exactly one of several writers that start from the same version wins;
the others read again and decide anew. One host keeps it in a file (``topology_file``), many hosts in etcd.
"""

from typing import Protocol

from sherd.common.errors import SherdError
from sherd.common.topology.state import Topology


class TopologyChanged(SherdError):
    """Compare-and-set lost: the topology is of another version now. Read it and decide anew."""


class TopologyStore(Protocol):
    """The one arbiter of who owns and who leads what."""

    async def read(self) -> Topology | None:
        """The topology as last written; None in a cluster that was never made."""
        ...

    async def compare_and_set(self, expected_version: int, topology: Topology) -> None:
        """Write ``topology``, whose version must be ``expected_version + 1``, durably.

        ``expected_version`` 0 makes the first one. TopologyChanged if another version is there.
        """
        ...

    async def watch(self, version: int) -> Topology:
        """Wait for a topology newer than ``version``."""
        ...
