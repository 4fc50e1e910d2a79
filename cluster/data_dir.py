"""The directory of a cluster on one host.

LOCK            flock, held by the one supervisor while it runs
topology.json   the cluster's shape, terms and leaders
shard-1/ ...    a directory for each shard's first replica, opened by that replica's process alone,
shard-1-replica-2/ ...  and one for each of its others
"""

import errno
import os
from random import SystemRandom
from typing import Self

from sherd.cluster.config import ClusterConfig
from sherd.cluster.shape import check_shape, new_cluster_id, new_topology, resized
from sherd.cluster.topology_file import FILE_NAME, TopologyFile
from sherd.cluster.topology_store import change
from sherd.common.disk import Disk
from sherd.common.errors import StoreCorrupt, StoreFormat, StoreLocked, StoreReadOnly
from sherd.common.topology.state import replica_dir
from sherd.common.types import ShardId


class DataDir:
    """A cluster's directory, locked from ``__init__`` to ``close``.

    Makes it if need be. StoreLocked if another supervisor runs on it, StoreReadOnly if it cannot be written,
    StoreFormat if it is something else's.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self.path = os.path.abspath(path)
        try:
            os.makedirs(self.path, mode=0o750, exist_ok=True)
            self._check_kind()
            self._lock = disk.lock(f"{self.path}/LOCK")
        except BlockingIOError as error:
            raise StoreLocked(f"{path} is in use by another `sherd up`; stop that one, or choose --data") from error
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreFormat(f"{path} is not a directory") from error
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise StoreReadOnly(f"{path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lock.release()

    def replica_path(self, shard: ShardId, name: str) -> str:
        """The directory of one replica."""
        return f"{self.path}/{replica_dir(shard, name)}"

    async def open_topology(self, config: ClusterConfig) -> TopologyFile:
        """The topology, made to the config's shape in a new directory; ConfigError if an existing one has another."""
        store = TopologyFile(self._disk, self.path)
        topology = await store.read()
        if topology is not None:
            check_shape(config, topology)
            if (followers := config.followers) is not None:
                for shard in topology.shards:
                    await change(store, shard, lambda state: resized(state, followers))
            return store
        orphans = sorted(name for name in self._disk.listdir(self.path) if name.startswith("shard-"))
        if orphans:
            raise StoreCorrupt(
                f"{self.path} holds {orphans[0]} but no {FILE_NAME}: restore that file from a backup; "
                "a new one would look for keys in the wrong shards"
            )
        await store.compare_and_set(0, new_topology(config, new_cluster_id(SystemRandom())))
        return store

    def _check_kind(self) -> None:
        if self._disk.exists(f"{self.path}/MANIFEST"):
            raise StoreFormat(f"{self.path} is the directory of a Store or of one shard, not of a cluster")
