"""Keeps the routes' topology as new as the topology file.

A change is looked for now and then, and more often while the routes want it: one look serves everybody who asked, and
looks that bring nothing new are ``PAUSE_S`` apart.
"""

from sherd.common.disk import Disk
from sherd.common.topology.state import Topology
from sherd.common.topology.watched_file import WatchedTopology
from sherd.proxy.routes import Routes

PAUSE_S = 0.02
LOOK_S = 0.25
"""How often the file's time stamp is looked at when nobody asks."""


class TopologyFollower:
    """Reads the topology from the file at ``path``."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._watched = WatchedTopology(disk, path)
        self._looked_at = float("-inf")

    def read(self) -> Topology:
        """The topology as it is now. FileNotFoundError, StoreFormat or StoreCorrupt if there is none to be had."""
        return self._watched.read()

    def follow(self, routes: Routes, now: float) -> None:
        """To be called regularly: adopt what has changed."""
        if now - self._looked_at < (PAUSE_S if routes.refresh_wanted else LOOK_S):
            return
        self._looked_at = now
        routes.refresh_wanted = False
        topology = self._watched.look()
        if topology is not None:
            routes.adopt(topology)
