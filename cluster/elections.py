"""Elections on many hosts: a shard whose leader's lease is not there gets another leader.

| a shard's lease | then |
|---|---|
| is there | its leader leads |
| has gone | an election |
| was not yet there since the election | its leader has ``CLAIM_SECONDS`` to take it, then an election |

An election is one transaction: if the lease is still not there and the topology unchanged, the replica in sync with the
longest log leads in the next term, and those who did not answer are not in sync. Where nobody answers whose log is
known to be complete, it takes all who are in sync. One whose store was made anew is not elected. One that was elected
and did not take its lease, since etcd is out of its reach perhaps, is passed over next time if another may lead.
"""

import asyncio
import json
import logging
from dataclasses import replace

from sherd.cluster.candidates import LogPosition, electable, longest, may_elect, position_of, positions_of
from sherd.cluster.etcd.active import ActiveStore
from sherd.cluster.etcd.api import Absent, Etcd
from sherd.cluster.etcd.keys import Keys
from sherd.cluster.topology_store import TopologyChanged, change, topology_of
from sherd.common.logs import event
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term
from sherd.common.world import World

log = logging.getLogger(__name__)

CLAIM_SECONDS = 2.0
"""How long a replica that was elected may take to take up its lease before another is elected."""
RESIGN_SECONDS = 3.0
"""How long a leader that hands over may take to give its lease back."""
RESIGN_LOOK_SECONDS = 0.02


class Elections:
    """Sees to it that every shard has a leader. For one time of being active."""

    def __init__(self, etcd: Etcd, keys: Keys, store: ActiveStore, world: World) -> None:
        self._etcd = etcd
        self._keys = keys
        self._store = store
        self._world = world
        self._claiming: dict[ShardId, Term] = {}  # elected here, and no lease seen yet
        self._since: dict[ShardId, tuple[Term, float]] = {}  # without a lease: in which term, and since when
        self._locks: dict[ShardId, asyncio.Lock] = {}
        self._told: dict[ShardId, str] = {}

    async def look(self) -> None:
        """At every shard, once."""
        leases = await self.leases()
        topology = await topology_of(self._store)
        for shard, state in topology.shards.items():
            if shard in leases and not state.led:
                await self._note_led(state, *leases[shard])
        await asyncio.gather(
            *(self._look(topology, shard) for shard in topology.shards if self._is_due(topology.shards[shard], leases))
        )

    async def leases(self) -> dict[ShardId, tuple[str, Term]]:
        """Who holds the lease of each shard, and in which term."""
        prefix = self._keys.lease_prefix
        _, found = await self._etcd.read_prefix(prefix)
        held = {}
        for pair in found:
            holder = json.loads(pair.value)
            held[ShardId(int(pair.key.removeprefix(prefix)))] = (str(holder["replica"]), Term(int(holder["term"])))
        return held

    async def promote(self, seen: ShardState, successor: str, in_sync: tuple[str, ...]) -> ShardState | None:
        """As ``Promote``, once the former leader's lease is gone."""
        async with self._lock(seen.id):
            deadline = self._world.clock.monotonic() + RESIGN_SECONDS
            while seen.id in await self.leases():
                if self._world.clock.monotonic() > deadline:
                    return None
                await asyncio.sleep(RESIGN_LOOK_SECONDS)
            return await self._elect(seen, successor, in_sync)

    async def _note_led(self, state: ShardState, replica: str, term: Term) -> None:
        """The shard has a leader, perhaps for the first time: from then on there is something to lose."""
        address = state.replicas.get(replica, "")
        position = await position_of(self._world.network, address) if address else None
        if position is not None and position.whole and position.term == term:
            await change(self._store, state.id, lambda state: replace(state, led=True))

    def _is_due(self, state: ShardState, leases: dict[ShardId, tuple[str, Term]]) -> bool:
        """Whether the shard's lease has gone, or has not been taken up in time."""
        now = self._world.clock.monotonic()
        if state.id in leases:
            self._claiming.pop(state.id, None)
            self._since[state.id] = (state.term, now - CLAIM_SECONDS)  # once it has gone, there is nothing to wait for
            return False
        term, since = self._since.setdefault(state.id, (state.term, now))
        if term != state.term:
            self._since[state.id] = (state.term, now)
            return False
        return now - since >= CLAIM_SECONDS

    async def _look(self, topology: Topology, shard: ShardId) -> None:
        if self._lock(shard).locked():
            return  # it is being handed over
        async with self._lock(shard):
            state = topology.shards[shard]
            found = await positions_of(self._world.network, state, state.in_sync)
            if not found:
                self._tell(shard, "no replica in sync answers: nobody can lead", state)
                return
            if not may_elect(state, found):
                text = "replicas in sync answer that may have lost what they acknowledged: waiting for the others"
                self._tell(shard, text, state)
                return
            able = electable(state, found)
            if not able:
                text = "replicas in sync answer whose stores were made anew: waiting for one that has what was there"
                self._tell(shard, text, state)
                return
            candidates = self._candidates(state, able)
            in_sync = tuple(name for name in state.in_sync if name in candidates)
            if await self._elect(state, longest(state, candidates), in_sync) is not None:
                self._told.pop(shard, None)

    def _candidates(self, state: ShardState, found: dict[str, LogPosition]) -> dict[str, LogPosition]:
        """Of those who answer, without the one who was to lead and did not take its lease, if others have all that was
        acknowledged.

        Its log may be longer, by what was never acknowledged; and who got no lease, since it does not reach etcd, does
        not hear whom to follow either, so it is not in sync.
        """
        others = {name: position for name, position in found.items() if name != state.leader}
        if self._claiming.get(state.id) == state.term and others and may_elect(state, others):
            event(log, logging.WARNING, "elected leader has not taken its lease", shard=state.id, leader=state.leader)
            return others
        return found

    async def _elect(self, seen: ShardState, successor: str, in_sync: tuple[str, ...]) -> ShardState | None:
        """One transaction; the shard's state after it, None if it was not to be."""
        topology = await topology_of(self._store)
        if topology.shards[seen.id] != seen:
            return None
        elected = replace(seen, term=Term(seen.term + 1), leader=successor, in_sync=in_sync)
        try:
            await self._store.compare_and_set(
                topology.version, topology.with_shard(elected), [Absent(self._keys.lease(seen.id))]
            )
        except TopologyChanged:
            return None
        self._claiming[seen.id] = elected.term
        event(
            log, logging.WARNING, "failover" if successor != seen.leader else "elected", shard=seen.id,
            before=seen.leader, leader=successor, term=elected.term, in_sync=",".join(in_sync),
        )  # fmt: skip
        return elected

    def _lock(self, shard: ShardId) -> asyncio.Lock:
        return self._locks.setdefault(shard, asyncio.Lock())

    def _tell(self, shard: ShardId, text: str, state: ShardState) -> None:
        if self._told.get(shard) != text:
            self._told[shard] = text
            event(log, logging.ERROR, text, shard=shard, in_sync=",".join(state.in_sync), term=state.term)
