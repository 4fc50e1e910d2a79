"""The links to followers, for reads that may be answered there: none before somebody wants such a read.

Which followers are read from is the topology's word: those in sync. A link is kept once it was made, as its shard's
replica may be wanted again; while it is down, or rests because its follower did not answer, it is passed over.
"""

from sherd.common.topology.state import Topology
from sherd.common.types import ShardId
from sherd.proxy.bounds import Bounds
from sherd.proxy.link import Link
from sherd.proxy.outlet import Turn

READ, READ_SCAN = "read", "read scan"
"""Purposes of a link to a follower, as ``point`` and ``scan`` are of those to a leader."""
REST_S = 1.0
"""How long a follower that did not answer in time is not asked."""


class FollowerLinks:
    """The links of one proxy to followers; those of a shard take turns."""

    def __init__(self, turn: Turn, bounds: Bounds) -> None:
        self._turn = turn
        self._bounds = bounds
        self._made: dict[tuple[int, str, str], Link] = {}
        self._topology: Topology | None = None
        self._found: dict[tuple[int, str], list[Link]] = {}  # of that topology
        self._made_all_of: Topology | None = None
        self._next = 0

    @property
    def links(self) -> list[Link]:
        """Every link there is."""
        return list(self._made.values())

    def pick(self, topology: Topology, shard: int, purpose: str, now: float) -> Link | None:
        """A link to a follower of the shard that can be used now; None if there is none."""
        links = self._links_of(topology, shard, purpose)
        for _ in range(len(links)):
            self._next += 1
            link = links[self._next % len(links)]
            if link.up and now >= link.retry_at:
                return link
        return None

    def make_all(self, topology: Topology) -> None:
        """Make every link that ``topology`` allows for, so that they are open when they are wanted."""
        if topology is not self._made_all_of:
            self._made_all_of = topology
            for shard in topology.shards:
                for purpose in (READ, READ_SCAN):
                    self._links_of(topology, shard, purpose)

    def _links_of(self, topology: Topology, shard: int, purpose: str) -> list[Link]:
        if topology is not self._topology:
            self._topology = topology
            self._found = {}
        found = self._found.get((shard, purpose))
        if found is None:
            state = topology.shards.get(ShardId(shard))
            names = () if state is None else tuple(name for name in state.followers if name in state.in_sync)
            found = self._found[shard, purpose] = [self._link(shard, name, purpose) for name in names]
        return found

    def _link(self, shard: int, name: str, purpose: str) -> Link:
        link = self._made.get((shard, name, purpose))
        if link is None:
            link = self._made[shard, name, purpose] = Link(self._turn, shard, purpose, self._bounds, name)
        return link
