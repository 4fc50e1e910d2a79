"""Doing without a replica whose store is damaged, so that it may begin anew with a copy of its leader's."""

import asyncio

from sherd.cluster.replicas import Replicas
from sherd.cluster.topology_store import TopologyStore, topology_of
from sherd.common.types import ShardId

LOOK_SECONDS = 0.25


async def do_without(store: TopologyStore, replicas: Replicas, shard: ShardId, name: str, seconds_max: float) -> bool:
    """The replica's process ended because its store is damaged: have another lead if it led, and wait for it no longer.

    True once it neither leads nor is in sync: then it has nothing that the others lack. For a successor, which may be
    about to start, ``seconds_max`` are waited; False if there is none, and the damaged store may be all there is. True
    as well once it turns out that the others had all been made anew: alone it may start with what it has.
    """
    others_in_sync = len((await topology_of(store)).shards[shard].in_sync) > 1
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds_max
    while True:
        await replicas.bury(shard, name, damaged=True)
        state = (await topology_of(store)).shards[shard]
        if state.leader != name:
            return name not in state.in_sync
        if len(state.in_sync) == 1:
            return others_in_sync
        if loop.time() > deadline:
            return False
        await asyncio.sleep(LOOK_SECONDS)
