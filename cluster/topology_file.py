"""The topology of a cluster on one host: one file, replaced atomically and fsynced, written by one process.

The writer holds the cluster's LOCK, so what it has in memory is what the file holds; compare-and-set still compares,
as several tasks of the writer may be at it. A crash leaves the old file or the new one: bytes are durable before the
rename, and the rename before anybody is told. Other processes read the file with ``sherd.common.topology.file``.
"""

import asyncio
import contextlib

from sherd.cluster.topology_store import TopologyChanged
from sherd.common.disk import Disk
from sherd.common.topology.file import encode_topology, read_topology
from sherd.common.topology.state import Topology

FILE_NAME = "topology.json"


class TopologyFile:
    """A ``TopologyStore`` over ``<directory>/topology.json``. The caller holds the directory's lock.

    The file is read once, here; StoreFormat or StoreCorrupt if it cannot be used.
    """

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        self.path = f"{directory}/{FILE_NAME}"
        self._topology = read_topology(disk, self.path) if disk.exists(self.path) else None
        self._changed = asyncio.Condition()

    async def read(self) -> Topology | None:
        return self._topology

    async def compare_and_set(self, expected_version: int, topology: Topology) -> None:
        async with self._changed:
            present = self._topology.version if self._topology else 0
            if present != expected_version:
                raise TopologyChanged(f"the topology is at version {present}, not {expected_version}")
            if topology.version != expected_version + 1:
                raise ValueError(f"version {topology.version} cannot follow {expected_version}")
            # In place, not in a thread: nothing may come between the file and what this process believes is in it.
            self._replace(encode_topology(topology))
            self._topology = topology
            self._changed.notify_all()

    async def watch(self, version: int) -> Topology:
        async with self._changed:
            while self._topology is None or self._topology.version <= version:
                await self._changed.wait()
            return self._topology

    def _replace(self, data: bytes) -> None:
        temporary = self.path + ".tmp"
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(temporary)
        file = self._disk.create(temporary)
        try:
            file.write(data)
            file.sync()
        finally:
            file.close()
        self._disk.rename(temporary, self.path)
        self._disk.sync_dir(self._directory)
