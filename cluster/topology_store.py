"""Where the cluster's topology lives, behind compare-and-set and watch.

A store hands out immutable ``Topology`` values. Exactly one of several writers that start from the same version wins;
the others read again and decide anew. One host keeps it in a file (``topology_file``), many hosts in etcd.
"""

from collections.abc import Callable
from typing import Protocol

from sherd.common.errors import SherdError, StoreCorrupt
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId


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


async def topology_of(store: TopologyStore) -> Topology:
    """The topology; StoreCorrupt if it is gone."""
    topology = await store.read()
    if topology is None:
        raise StoreCorrupt("the topology is gone")
    return topology


async def change(
    store: TopologyStore, shard: ShardId, decide: Callable[[ShardState], ShardState | None]
) -> ShardState | None:
    """Replace a shard's state by what ``decide`` makes of the present one; None if it wants no change."""
    while True:
        topology = await topology_of(store)
        wanted = decide(topology.shards[shard])
        if wanted is None or wanted == topology.shards[shard]:
            return None
        try:
            await store.compare_and_set(topology.version, topology.with_shard(wanted))
        except TopologyChanged:
            continue
        return wanted
