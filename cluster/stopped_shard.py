"""One shard of a stopped cluster on this host, taken over by a command for a moment.

What the shard's own process would get from the cluster comes from the cluster's directory here: the lock that keeps the
cluster from starting meanwhile, a term that no process had before, and which keys are the shard's.
"""

import asyncio
import os
from types import TracebackType
from typing import Self

from sherd.cluster.data_dir import DataDir
from sherd.cluster.replicas import Replicas
from sherd.cluster.topology_file import FILE_NAME, TopologyFile
from sherd.cluster.topology_store import topology_of
from sherd.common.disk import Disk
from sherd.common.errors import StoreError, StoreFormat
from sherd.common.net.network import SystemNetwork
from sherd.common.topology.state import Topology, replica_dir
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import ShardId, Term

_PREFIX = "shard-"


def is_shard_of_a_cluster(disk: Disk, path: str) -> bool:
    """Whether ``path`` is a shard's directory in a cluster's."""
    cluster, name = os.path.split(os.path.abspath(path))
    return name.startswith(_PREFIX) and disk.exists(f"{cluster}/{FILE_NAME}")


class StoppedShard:
    """Holds the cluster's lock from ``__init__`` to ``close``; ``term`` is the one to open the shard with.

    Raises as ``DataDir`` does (StoreLocked while the cluster runs), and StoreFormat if ``path`` is no shard of it.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        cluster, name = os.path.split(os.path.abspath(path))
        self._dir = DataDir(disk, cluster)
        try:
            self.term, self._topology = asyncio.run(_begin_term(TopologyFile(disk, cluster), name))
        except BaseException:
            self._dir.close()
            raise
        self._name = name
        self._tokens = TokenMap(self._topology.layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._dir.close()

    def check_owns(self, key: bytes) -> None:
        """StoreError, naming the right directory, if the key is another shard's: no reader would look for it here."""
        shard = ShardId(self._tokens.owner(key))
        owner = replica_dir(shard, self._topology.shards[shard].leader)
        if owner != self._name:
            raise StoreError(f"that key belongs to {owner}: write it to {self._dir.path}/{owner}")


async def _begin_term(store: TopologyFile, name: str) -> tuple[Term, Topology]:
    topology = await topology_of(store)
    for shard, state in topology.shards.items():
        for replica in state.replicas:
            if replica_dir(shard, replica) != name:
                continue
            if replica != state.leader:
                leader = replica_dir(shard, state.leader)
                raise StoreError(f"{name} is a follower's directory: shard {shard} is led from {leader}, use that")
            begun = await Replicas(store, SystemNetwork()).begin(shard, replica, state.leader_address)
            return begun.term, await topology_of(store)
    raise StoreFormat(f"{name} is none of the shards in {store.path}")
