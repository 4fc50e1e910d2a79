"""Where each key goes now: the token map, the links, and how both change while requests are under way.

``adopt`` takes a newer topology. A change of leaders only matters to those who connect links. A change of layout sends
keys to other shards, and the requests of one connection that touch one key must keep their order: so every point link
is barred - it holds what is new - until all that was sent before is answered; then the new map is put in place and
what was held goes where it now belongs, in its order. A shard's refusal bars its link in the same way, and as long as
no new layout explains it, it is retried every ``REFUSED_PAUSE_S``; a request's hold time bounds both.

``followers`` are links of another kind, for reads that need not be the leader's: nothing is barred on them.

Invariants: ``map`` is that of ``topology.layout``; each of its owners has a point and a scan link.
"""

import cython

from sherd.common.errors import Unavailable
from sherd.common.topology.state import Topology
from sherd.proxy.bounds import Bounds
from sherd.proxy.follower_links import FollowerLinks

if cython.compiled:
    from cython.cimports.sherd.common.topology.token_map import TokenMap
    from cython.cimports.sherd.proxy.link import Link
    from cython.cimports.sherd.proxy.outlet import Turn
    from cython.cimports.sherd.proxy.pending import Pending
else:
    from sherd.common.topology.token_map import TokenMap
    from sherd.proxy.link import Link
    from sherd.proxy.outlet import Turn
    from sherd.proxy.pending import Pending


@cython.cclass
class Retry:
    """Something that asked to be tried again at the next step."""

    @cython.ccall
    def retry(self) -> None:
        raise NotImplementedError


@cython.cclass
class Routes:
    """The links of this proxy and which of them a key belongs to. ``now`` is monotonic seconds, kept by the caller.

    ``stale_ms``: how old a follower's answer may be to reads that do not say it themselves; 0: those are the leader's.
    """

    def __init__(self, turn: Turn, topology: Topology, bounds: Bounds, reply_bytes_max: int, stale_ms: int = 0) -> None:
        self.now = 0.0
        self.bounds = bounds
        self.reply_bytes_max = reply_bytes_max
        self.topology = topology
        self.map = TokenMap(topology.layout)
        self.refresh_wanted = False
        self.stale_ms = stale_ms
        self.followers = FollowerLinks(turn, bounds)
        self._turn = turn
        self._coming: Topology | None = None
        self._retries: list[Retry] = []
        self._points: list[Link | None] = []
        self._scans: list[Link | None] = []
        self._add_links(topology)

    @property
    def links(self) -> list[Link]:
        """Every link, of all purposes."""
        return [link for link in self._points + self._scans + self.followers.links if link is not None]

    @property
    def busy(self) -> bool:
        """Whether anything is under way or waits."""
        return bool(self._retries) or not all(link.idle for link in self.links)

    @cython.cfunc
    def link_of(self, key: bytes) -> Link:
        """The point link of the shard that owns ``key``."""
        link: Link = cython.cast(Link, self._points[self.map.owner(key)])
        return link

    @cython.ccall
    def ask(self, shard: cython.long, question: Pending) -> None:
        """Put a question to a shard on its scan link. It ends with Unavailable if there is no such shard any more."""
        if shard >= len(self._scans) or self._scans[shard] is None:
            question.refuse(Unavailable(f"there is no shard {shard}"))
        else:
            cython.cast(Link, self._scans[shard]).submit(question, self.now)

    @cython.ccall
    def later(self, retry: Retry) -> None:
        """Have ``retry`` tried again at the next step, with a topology read anew by then if possible."""
        self.refresh_wanted = True
        self._retries.append(retry)

    def adopt(self, topology: Topology) -> None:
        """Take a newer topology; an older one is ignored."""
        if topology.version <= (self._coming or self.topology).version:
            return
        self._add_links(topology)
        if topology.layout.counter == self.topology.layout.counter:
            self.topology = topology
            return
        self._coming = topology
        for link in self._points:
            if link is not None:
                link.barred = True
        self.step(self.now)

    def step(self, now: float) -> None:
        """Go on with what waits. To be called after ``adopt`` and regularly."""
        self.now = now
        if self.stale_ms > 0:
            self.followers.make_all(self.topology)
        points = [link for link in self._points if link is not None]
        if self._coming is not None:
            if not any(link.live for link in points):
                self._switch(self._coming, points)
        else:
            for link in points:
                if link.barred:
                    self.refresh_wanted = True
                    if link.live == 0 and now >= link.retry_at:
                        link.barred = False
                        link.resubmit(link.take_back(), now)
        retries = self._retries
        self._retries = []
        for retry in retries:
            retry.retry()

    def _switch(self, topology: Topology, points: list[Link]) -> None:
        self.topology = topology
        self.map = TokenMap(topology.layout)
        self._coming = None
        waiting: list[Pending] = []
        for link in points:
            waiting += link.take_back()
            link.barred = False
        pending: Pending
        for pending in waiting:
            if not pending.done:
                self.place(pending)

    @cython.ccall
    def place(self, pending: Pending) -> None:
        """Submit ``pending`` to the shards that own what it touches."""
        part: Pending
        for part in pending.split(self.map):
            self.link_of(part.key).submit(part, self.now)

    def _add_links(self, topology: Topology) -> None:
        room = max(topology.shards) + 1 - len(self._points)
        self._points += [None] * room
        self._scans += [None] * room
        for shard in topology.shards:
            if self._points[shard] is None:
                link = Link(self._turn, shard, "point", self.bounds)
                link.barred = self._coming is not None
                self._points[shard] = link
                self._scans[shard] = Link(self._turn, shard, "scan", self.bounds)
