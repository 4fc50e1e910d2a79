"""The topology file as somebody sees it who only reads: again when it has changed, which its stamp tells."""

import logging
import os

from sherd.common.disk import Disk
from sherd.common.errors import StoreError
from sherd.common.logs import event
from sherd.common.topology.file import read_topology
from sherd.common.topology.state import Topology

log = logging.getLogger(__name__)


class WatchedTopology:
    """A ``TopologySource``: the topology in the file at ``path``."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._complaint = ""

    async def read(self) -> Topology:
        """The topology as it is now. FileNotFoundError, StoreFormat or StoreCorrupt if there is none to be had."""
        return self._read()

    def look(self) -> Topology | None:
        """The topology, if the file has changed since it was read. One that can't be read is complained of once."""
        if self._stamp() == self._seen:
            return None
        try:
            topology = self._read()
        except (OSError, StoreError) as error:
            self._seen = None
            if self._complaint != str(error):
                self._complaint = str(error)
                event(log, logging.ERROR, "topology not readable", path=self._path, reason=error)
            return None
        self._complaint = ""
        return topology

    async def close(self) -> None:
        """There is nothing to close."""

    def _read(self) -> Topology:
        self._seen = self._stamp()
        return read_topology(self._disk, self._path)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
