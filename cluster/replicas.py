"""Who leads a shard on one host, where the supervisor starts and reaps the processes: decisions, each of them one
compare-and-set.

| what happened | what is decided |
|---|---|
| a replica's process is about to start | if it leads, it leads in the next term |
| a leader's process was reaped | of those in sync with complete logs, the longest leads next; else the same one again |
| a leader's store is damaged | of those in sync the one with the longest log leads next |
| a follower's process was reaped | it is not in sync |

Nobody is made leader who is not in sync in the topology. A successor takes what the dead leader had written from its
directory; until it has, nobody else uses that.
"""

import asyncio
import logging
from dataclasses import replace

from sherd.cluster.candidates import electable, longest_log, position_of, positions_of
from sherd.cluster.topology_store import TopologyStore, change, topology_of
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.topology.state import ShardState
from sherd.common.types import ShardId, Term

log = logging.getLogger(__name__)

TAKE_OVER_LOOK_SECONDS = 0.02


class Replicas:
    """Of the shards in ``store``, which this host's processes serve."""

    def __init__(self, store: TopologyStore, network: Network) -> None:
        self._store = store
        self._network = network

    async def begin(self, shard: ShardId, name: str, address: str) -> ShardState:
        """A replica is about to start at ``address``: if it leads, in its next term. The shard's state then.

        One that died before it had taken over its predecessors' logs still has to.
        """

        def decide(state: ShardState) -> ShardState:
            replicas = {**state.replicas, name: address}
            if state.leader != name:
                return replace(state, replicas=replicas)
            return replace(state, replicas=replicas, term=Term(state.term + 1))

        return await change(self._store, shard, decide) or (await topology_of(self._store)).shards[shard]

    async def bury(self, shard: ShardId, name: str, *, damaged: bool = False) -> None:
        """A replica's process was reaped: let another lead if it led and one can, and wait for it no longer. If it is
        not ``damaged`` it may lead again, with all it has; so another has to have all that was acknowledged.

        Returns when nobody needs its directory any more: its successor takes its log from there.
        """
        state = (await topology_of(self._store)).shards[shard]
        successor, lacking = "", set[str]()
        if state.leader == name:
            successor = await longest_log(self._network, state, name, complete=not damaged)
            lacking = await self._lacking(state) if damaged and not successor else lacking

        def decide(state: ShardState) -> ShardState | None:
            replicas = {**state.replicas, name: ""}
            if state.leader != name:
                in_sync = tuple(other for other in state.in_sync if other != name)
                return replace(state, replicas=replicas, in_sync=in_sync)
            if not successor or successor not in state.in_sync:
                left = tuple(other for other in state.in_sync if other not in lacking)
                return replace(state, replicas=replicas, in_sync=left)
            in_sync = tuple(other for other in state.in_sync if other != name)
            term = Term(state.term + 1)
            predecessors = (*(other for other in state.predecessors if other != successor), name)
            return replace(
                state, term=term, leader=successor, predecessors=predecessors, replicas=replicas, in_sync=in_sync
            )

        decided = await change(self._store, shard, decide)
        if decided is not None and decided.leader == successor:
            event(
                log, logging.WARNING, "failover", shard=shard, dead=name, leader=successor, term=decided.term,
                in_sync=",".join(decided.in_sync),
            )  # fmt: skip
        await self.until_taken_over(shard, name)

    async def _lacking(self, state: ShardState) -> set[str]:
        """The followers that say that their stores were made anew, once the shard was led."""
        found = await positions_of(self._network, state, state.followers)
        return found.keys() - electable(state, found).keys()

    async def all_led(self) -> bool:
        """The leaders of all shards serve, and nobody has written yet: from now on they have something to lose.
        True.
        """
        topology = await topology_of(self._store)
        for shard in topology.shards:
            await change(self._store, shard, lambda state: replace(state, led=True))
        return True

    async def promote(self, seen: ShardState, successor: str, in_sync: tuple[str, ...]) -> ShardState | None:
        """As ``handover.Promote``. One whose process is gone has left a log that its successor takes."""

        def decide(state: ShardState) -> ShardState | None:
            if (state.leader, state.term) != (seen.leader, seen.term):
                return None
            predecessors = state.predecessors if state.leader_address else (*state.predecessors, state.leader)
            return replace(
                state, term=Term(state.term + 1), leader=successor, in_sync=in_sync, predecessors=predecessors
            )

        return await change(self._store, seen.id, decide)

    async def until_taken_over(self, shard: ShardId, dead: str) -> None:
        """Wait while the leader may still have to take over the log of ``dead``; note that it has when it leads."""

        def decide(state: ShardState) -> ShardState | None:
            return replace(state, predecessors=()) if state == seen else None

        while dead in (seen := (await topology_of(self._store)).shards[shard]).predecessors:
            position = await position_of(self._network, seen.leader_address) if seen.leader_address else None
            if position is not None and position.term == seen.term:
                await change(self._store, shard, decide)
            else:
                await asyncio.sleep(TAKE_OVER_LOOK_SECONDS)
