"""Keeps the routes' topology as new as what the cluster says.

A change is looked for now and then, and more often while the routes want it: one look serves everybody who asked, and
looks that bring nothing new are ``PAUSE_S`` apart.
"""

from sherd.common.topology.source import TopologySource
from sherd.proxy.routes import Routes

PAUSE_S = 0.02
LOOK_S = 0.25
"""How often the source is looked at when nobody asks."""


class TopologyFollower:
    """Takes over what ``source`` has anew."""

    def __init__(self, source: TopologySource) -> None:
        self._source = source
        self._looked_at = float("-inf")

    def follow(self, routes: Routes, now: float) -> None:
        """To be called regularly: adopt what has changed."""
        if now - self._looked_at < (PAUSE_S if routes.refresh_wanted else LOOK_S):
            return
        self._looked_at = now
        routes.refresh_wanted = False
        topology = self._source.look()
        if topology is not None:
            routes.adopt(topology)
