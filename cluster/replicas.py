"""Who leads each shard and who is in sync: the coordinator's decisions, each of them one compare-and-set.

| what happened | what is decided |
|---|---|
| a leader's process was reaped | of those in sync the one with the most log leads next; else the same one again |
| a follower's process ended, or the leader has not heard it for long, or it is far behind | it is not in sync |
| a follower is to give up what it holds and begin anew | it is not in sync |
| a follower has all that its leader has, and is waited for | it is in sync |

Nobody is made leader who is not in sync in the topology. A follower is taken out of it there before its leader stops to
wait for it, and put in only after it began to (``admit``).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from sherd.cluster.topology_store import TopologyChanged, TopologyStore
from sherd.common.errors import SherdError, StoreCorrupt
from sherd.common.logs import event
from sherd.common.net.stream import ask_once
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
LOOK_SECONDS = 0.25
TAKE_OVER_LOOK_SECONDS = 0.02
SILENT_SECONDS = 3.0
"""How long a follower in sync may not be heard by its leader."""
LAG_SECONDS = 10.0
"""How far behind a follower in sync may fall."""


async def topology_of(store: TopologyStore) -> Topology:
    """The topology; StoreCorrupt if it is gone."""
    topology = await store.read()
    if topology is None:
        raise StoreCorrupt("the topology is gone")
    return topology


async def change(
    store: TopologyStore, shard: ShardId, decide: Callable[[ShardState], ShardState | None]
) -> ShardState | None:
    """Replace a shard's state by what ``decide`` makes of the present one; None if it wants no change."""
    while True:
        topology = await topology_of(store)
        wanted = decide(topology.shards[shard])
        if wanted is None or wanted == topology.shards[shard]:
            return None
        try:
            await store.compare_and_set(topology.version, topology.with_shard(wanted))
        except TopologyChanged:
            continue
        return wanted


async def begin(store: TopologyStore, shard: ShardId, name: str, address: str) -> ShardState:
    """A replica is about to start at ``address``: if it leads, in its next term. The shard's state then.

    One that died before it had taken over its predecessors' logs still has to.
    """

    def decide(state: ShardState) -> ShardState:
        replicas = {**state.replicas, name: address}
        if state.leader != name:
            return replace(state, replicas=replicas)
        return replace(state, replicas=replicas, term=Term(state.term + 1))

    return await change(store, shard, decide) or (await topology_of(store)).shards[shard]


async def bury(store: TopologyStore, shard: ShardId, name: str) -> None:
    """A replica's process was reaped: let another lead if it led and one can, and wait for it no longer.

    Returns when nobody needs its directory any more: its successor takes its log from there.
    """
    topology = await topology_of(store)
    state = topology.shards[shard]
    successor = await _successor(state, name) if state.leader == name else ""

    def decide(state: ShardState) -> ShardState | None:
        replicas = {**state.replicas, name: ""}
        if state.leader != name:
            in_sync = tuple(other for other in state.in_sync if other != name)
            return replace(state, replicas=replicas, in_sync=in_sync)
        if not successor or successor not in state.in_sync:
            return None
        in_sync = tuple(other for other in state.in_sync if other != name)
        term = Term(state.term + 1)
        predecessors = (*(other for other in state.predecessors if other != successor), name)
        return replace(
            state, term=term, leader=successor, predecessors=predecessors, replicas=replicas, in_sync=in_sync
        )

    decided = await change(store, shard, decide)
    if decided is not None and successor:
        event(
            log, logging.WARNING, "failover", shard=shard, dead=name, leader=successor, term=decided.term,
            in_sync=",".join(decided.in_sync),
        )  # fmt: skip
    await until_taken_over(store, shard, name)


async def until_taken_over(store: TopologyStore, shard: ShardId, dead: str) -> None:
    """Wait while the leader may still have to take over the log of ``dead``; note that it has when it leads."""

    def decide(state: ShardState) -> ShardState | None:
        return replace(state, predecessors=()) if state == seen else None

    while dead in (seen := (await topology_of(store)).shards[shard]).predecessors:
        position = await _position(seen.leader_address) if seen.leader_address else None
        if position is not None and position[0] == seen.term:
            await change(store, shard, decide)
        else:
            await asyncio.sleep(TAKE_OVER_LOOK_SECONDS)


async def _successor(state: ShardState, dead: str) -> str:
    """The follower in sync whose log is the longest of those that answer; empty if none does."""
    names = [name for name in state.in_sync if name != dead and state.replicas[name]]
    positions = await asyncio.gather(*(_position(state.replicas[name]) for name in names))
    found = [(position, name) for position, name in zip(positions, names, strict=True) if position is not None]
    return max(found)[1] if found else ""


async def _position(address: str) -> tuple[int, int] | None:
    """(term, last LSN) of a replica's log; None if it does not say."""
    try:
        match await ask_once(address, "position", [], ASK_SECONDS):
            case [int(term), int(last_lsn)]:
                return term, last_lsn
    except (OSError, TimeoutError, SherdError, ValueError) as error:
        event(log, logging.INFO, "replica does not tell its position", address=address, error=repr(error))
    return None


class Membership:
    """Keeps the in-sync sets of all shards as they should be."""

    def __init__(self, store: TopologyStore) -> None:
        self._store = store

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            topology = await topology_of(self._store)
            followed = [shard for shard, state in topology.shards.items() if len(state.replicas) > 1]
            await asyncio.gather(*(self._look(topology, shard) for shard in followed))

    async def _look(self, topology: Topology, shard: ShardId) -> None:
        state = topology.shards[shard]
        if not state.leader_address:
            return
        try:
            told = await ask_once(state.leader_address, "followers", [], ASK_SECONDS)
            if not isinstance(told, dict):
                return
            for name in state.followers:
                found = told.get(name)
                if isinstance(found, dict):
                    await self._judge(state, name, found)
        except (OSError, TimeoutError, SherdError, ValueError):
            return  # the leader starts, or is on its way out: whoever keeps its process sees to that

    async def _judge(self, state: ShardState, name: str, told: dict[str, object]) -> None:
        heard, lag = told.get("heard_seconds_ago"), told.get("lag_seconds")
        lost = not isinstance(heard, (int, float)) or heard > SILENT_SECONDS
        behind = not isinstance(lag, (int, float)) or lag > LAG_SECONDS
        if name in state.in_sync:
            if lost or behind or told.get("rebuild") is True:
                why = f"heard={heard} lag_seconds={lag} rebuild={told.get('rebuild', False)}"
                await self._set(state, name, False, why)
        elif not lost and not behind:
            answer = await ask_once(state.leader_address, "admit", [name, state.revision], ASK_SECONDS)
            if answer is True:
                await self._set(state, name, True, "it has all that its leader has")

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
