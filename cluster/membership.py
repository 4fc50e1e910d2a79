"""Who of a shard's followers is in sync, which is kept in the topology.

A follower is taken out there before its leader stops to wait for it, and put in only after the leader began to
(``admit``) and it has everything. One that is to give up what it holds and begin anew is taken out as well. One that is
lost while its leader waits for it already, to be put in, is waited for no longer either.
"""

import asyncio
import contextlib
import logging
from dataclasses import replace

from sherd.cluster.topology_store import TopologyChanged, TopologyStore, change, topology_of
from sherd.common.errors import SherdError
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.net.stream import ask_once
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
LOOK_SECONDS = 0.25
SILENT_SECONDS = 3.0
"""How long a follower in sync may not be heard by its leader."""
LAG_SECONDS = 10.0
"""How far behind a follower in sync may fall."""


class Membership:
    """Keeps the in-sync sets of all shards as they should be."""

    def __init__(self, store: TopologyStore, network: Network) -> None:
        self._store = store
        self._network = network

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """At every shard, once."""
        topology = await topology_of(self._store)
        followed = [shard for shard, state in topology.shards.items() if len(state.replicas) > 1]
        await asyncio.gather(*(self._look(topology, shard) for shard in followed))

    async def _look(self, topology: Topology, shard: ShardId) -> None:
        state = topology.shards[shard]
        if not state.leader_address:
            return
        try:
            told = await ask_once(self._network, state.leader_address, "followers", [], ASK_SECONDS)
            if not isinstance(told, dict):
                return
            for name in state.followers:
                found = told.get(name)
                if isinstance(found, dict):
                    await self._judge(state, name, found)
        except (OSError, TimeoutError, SherdError):
            return  # the leader starts, or is on its way out: whoever elects sees to that

    async def _judge(self, state: ShardState, name: str, told: dict[str, object]) -> None:
        heard, lag = told.get("heard_seconds_ago"), told.get("lag_seconds")
        lost = not isinstance(heard, (int, float)) or heard > SILENT_SECONDS
        behind = not isinstance(lag, (int, float)) or lag > LAG_SECONDS
        if name in state.in_sync:
            if lost or behind or told.get("rebuild") is True:
                why = f"heard={heard} lag_seconds={lag} rebuild={told.get('rebuild', False)}"
                await self._set(state, name, False, why)
        elif lost or behind:
            if told.get("awaited") is True:  # it was to be in sync: have its leader wait for it no longer
                await self._renew(state)
        elif told.get("pid") is not None and state.replicas[name]:
            params = [name, state.revision]
            if await ask_once(self._network, state.leader_address, "admit", params, ASK_SECONDS) is True:
                await self._set(state, name, True, "it has all that its leader has")

    async def _renew(self, seen: ShardState) -> None:
        """Another revision of the same state: whom its leader has admitted since is in sync by it, or not."""
        topology = await topology_of(self._store)
        if topology.shards[seen.id] == seen:
            with contextlib.suppress(TopologyChanged):  # whoever was quicker has done as much
                await self._store.compare_and_set(topology.version, topology.with_shard(seen))

    async def _set(self, seen: ShardState, name: str, in_sync: bool, why: str) -> None:
        """Put a follower into the set or out of it, unless the shard's state is another than the one looked at."""

        def decide(state: ShardState) -> ShardState | None:
            if state != seen:
                return None
            others = tuple(other for other in state.in_sync if other != name)
            return replace(state, in_sync=(*others, name) if in_sync else others)

        if await change(self._store, seen.id, decide) is not None:
            what = "follower is in sync" if in_sync else "follower is not in sync"
            event(log, logging.INFO if in_sync else logging.WARNING, what, shard=seen.id, replica=name, why=why)
