"""A replica's seat in its cluster: what it is told there, and what it must hold to lead.

Under a supervisor on the same host the word of the topology is enough: nobody else is told to lead before this process
was reaped. Across hosts a leader holds a lease, and answers until its deadline and not longer; who leads next waits for
the lease to end.
"""

import math
from typing import Protocol

from sherd.common.topology.source import TopologySource
from sherd.common.topology.state import ShardState, Topology
from sherd.common.topology.watched_file import WatchedTopology


class Seat(TopologySource, Protocol):
    """Of one replica of one shard."""

    @property
    def leased(self) -> bool:
        """Whether a leader holds a lease. One who is called to lead in a term that its log has seen then waits for a
        later one; else that is an error: the topology is older than the log.
        """
        ...

    @property
    def deadline(self) -> float:
        """Until when a leader may answer, on the clock that counts while the machine sleeps; in the past for others."""
        ...

    async def enter(self) -> None:
        """To be awaited once, before anything else: waits while another process is this replica."""
        ...

    async def enlist(self, address: str) -> None:
        """This replica serves at ``address``: let the others know."""
        ...

    async def claim(self, state: ShardState) -> bool:
        """Take what it needs to lead as ``state`` says; whether it may. SherdError if that can't be told now."""
        ...

    async def resign(self) -> None:
        """Lead no more, and let another do so at once. Harmless for one who does not lead."""
        ...

    async def withdraw(self) -> Topology:
        """What this replica holds is of no use: have the others do without it, if they can. The topology after that.

        To be called before it serves. If by that topology it neither leads nor is in sync, nobody counts on what it
        holds, or will before it has everything anew.
        """
        ...


class SupervisedSeat:
    """Under a supervisor, which writes the topology file that ``watched`` reads."""

    deadline = math.inf
    leased = False

    def __init__(self, watched: WatchedTopology) -> None:
        self._watched = watched

    async def read(self) -> Topology:
        return await self._watched.read()

    def look(self) -> Topology | None:
        return self._watched.look()

    async def close(self) -> None:
        """There is nothing to close."""

    async def enter(self) -> None:
        """The supervisor has reaped the process that was there before."""

    async def enlist(self, address: str) -> None:
        """The supervisor knows, it has chosen the address."""

    async def claim(self, state: ShardState) -> bool:
        return True

    async def resign(self) -> None:
        """The supervisor sees the end of the process, and knows who has handed over."""

    async def withdraw(self) -> Topology:
        """The supervisor has done what can be done, once it had reaped the process that was there before."""
        return await self._watched.read()
