"""A planned change of leader: nothing is lost, nothing fails, requests wait for a moment.

The leader refuses requests, before it executes them, until its successor has everything, and then leads no more; only
after that the topology names the successor. If the successor does not come to that in time, the leader leads on. If
whoever conducts this dies in between, the shard is without a leader, and is seen to as if it had died.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sherd.cluster.candidates import longest_log
from sherd.cluster.topology_store import TopologyStore, topology_of
from sherd.common.errors import BadRequest, SherdError, Unavailable
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.net.stream import Stream
from sherd.common.topology.state import ShardState
from sherd.common.types import ShardId

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.005
SECONDS_MAX = 2.0

Promote = Callable[[ShardState, str], Awaitable[ShardState | None]]
"""Makes a replica the leader of a shard whose leader, as the given state says, leads no more; the state then, None if
that is no longer so."""


async def hand_over(
    store: TopologyStore, network: Network, promote: Promote, shard: int, successor: str = ""
) -> ShardState:
    """Make ``successor``, or the follower in sync with the longest log, the leader of a shard; the shard's state then.

    BadRequest if it can't be that one, Unavailable if it did not work out.
    """
    state = (await topology_of(store)).shards.get(ShardId(shard))
    if state is None:
        raise BadRequest(f"there is no shard {shard}")
    if not successor:
        successor = await longest_log(network, state, without=[state.leader])
        if not successor:
            raise Unavailable(
                f"no follower of shard {shard} is in sync and answers: nobody can lead in its leader's place"
            )
    if successor == state.leader:
        raise BadRequest(f"replica {successor} leads shard {shard} already")
    if successor not in state.replicas:
        raise BadRequest(f"shard {shard} has no replica {successor!r}; it has {', '.join(sorted(state.replicas))}")
    if successor not in state.in_sync:
        raise BadRequest(f"replica {successor} of shard {shard} is not in sync and must not lead")
    if not await _until_handed_over(network, state, successor):
        raise Unavailable(
            f"replica {successor} of shard {shard} did not catch up in {SECONDS_MAX:g} s; its leader leads on"
        )
    promoted = await promote(state, successor)
    if promoted is None:
        raise Unavailable(f"shard {shard} has changed meanwhile; look at its status and try again")
    event(log, logging.WARNING, "handed over", shard=shard, before=state.leader, leader=successor, term=promoted.term)
    return promoted


async def _until_handed_over(network: Network, state: ShardState, successor: str) -> bool:
    """Whether the leader has handed over to ``successor``."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            stream = await Stream.open(network, state.leader_address)
            try:
                while await stream.ask("hand_over", [successor, state.term]) is not True:
                    await asyncio.sleep(LOOK_SECONDS)
                return True
            finally:
                stream.close()
    except TimeoutError:
        return False
    except (OSError, SherdError) as error:
        raise Unavailable(f"the leader of shard {state.id} does not answer: {error}") from error
