"""Keeps the routes' topology as new as the topology file.

The file is read anew when it has changed, which is looked for at every ``follow``, and when the routes want it: one
read serves everybody who asked, and reads that bring nothing new are ``PAUSE_S`` apart.
"""

import logging
import os

from sherd.common.disk import Disk
from sherd.common.errors import StoreError
from sherd.common.logs import event
from sherd.common.topology.file import read_topology
from sherd.common.topology.state import Topology
from sherd.proxy.routes import Routes

logger = logging.getLogger("sherd.proxy.topology")

PAUSE_S = 0.02
LOOK_S = 0.25
"""How often the file's time stamp is looked at when nobody asks."""


class TopologyFollower:
    """Reads the topology from the file at ``path``."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._looked_at = float("-inf")
        self._complaint = ""

    def read(self) -> Topology:
        """The topology as it is now. FileNotFoundError, StoreFormat or StoreCorrupt if there is none to be had."""
        self._seen = self._stamp()
        return read_topology(self._disk, self._path)

    def follow(self, routes: Routes, now: float) -> None:
        """To be called regularly: adopt what has changed. A file that can't be read is complained of once and kept."""
        if now - self._looked_at < (PAUSE_S if routes.refresh_wanted else LOOK_S):
            return
        self._looked_at = now
        routes.refresh_wanted = False
        if self._stamp() == self._seen:
            return
        try:
            topology = self.read()
        except (OSError, StoreError) as error:
            self._seen = None
            if self._complaint != str(error):
                self._complaint = str(error)
                event(logger, logging.ERROR, "topology not readable", path=self._path, reason=error)
            return
        self._complaint = ""
        routes.adopt(topology)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
