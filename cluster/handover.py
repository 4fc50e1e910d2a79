"""A change of leader that somebody asks for.

Planned: nothing is lost, nothing fails, requests wait for a moment.

The leader refuses requests, before it executes them, until its successor has everything, and then leads no more; only
after that the topology names the successor. If the successor does not come to that in time, the leader leads on. If
whoever conducts this dies in between, the shard is without a leader, and is seen to as if it had died.

Forced: for a shard that nobody may lead, since those in sync are gone. Whoever is named leads with what it has; what it
lacks is lost.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sherd.cluster.candidates import ASK_SECONDS, longest_log, position_of
from sherd.cluster.topology_store import TopologyStore, topology_of
from sherd.common.errors import BadRequest, NotLeader, SherdError, Unavailable
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.net.stream import Stream, ask_once
from sherd.common.topology.state import ShardState
from sherd.common.types import ShardId

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.005
SECONDS_MAX = 2.0
DEMOTION_SECONDS = 0.1
"""How long a leader that has handed over may take to know that it leads no more."""

Promote = Callable[[ShardState, str, tuple[str, ...]], Awaitable[ShardState | None]]
"""Makes a replica the leader of a shard whose leader, as the given state says, leads no more, with these in sync; the
state then, None if that is no longer so."""


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
        successor = await longest_log(network, state, state.leader, complete=False)
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
    if not await _until_handed_over(network, state, successor) and not await _has_handed_over(
        network, state, successor
    ):
        raise Unavailable(
            f"replica {successor} of shard {shard} did not catch up in {SECONDS_MAX:g} s; its leader leads on"
        )
    promoted = await promote(state, successor, state.in_sync)
    if promoted is None:
        raise Unavailable(f"shard {shard} has changed meanwhile; look at its status and try again")
    event(log, logging.WARNING, "handed over", shard=shard, before=state.leader, leader=successor, term=promoted.term)
    return promoted


async def force(
    store: TopologyStore, network: Network, promote: Promote, shard: int, successor: str, *, leased: bool
) -> ShardState:
    """Make ``successor`` the leader of a shard that nobody leads, in sync or not; the shard's state then.

    ``leased``: a leader's lease keeps it from leading beside another; without leases its process has to be gone, or say
    that it will not lead with what it has. BadRequest if the shard is led, or there is no such replica; Unavailable if
    it did not work out.
    """
    state = (await topology_of(store)).shards.get(ShardId(shard))
    if state is None or successor not in state.replicas:
        raise BadRequest(f"there is no replica {successor!r} of shard {shard}")
    if state.leader_address and not await _does_not_lead(network, state, leased=leased):
        raise BadRequest(
            f"replica {state.leader} leads shard {shard}, or may: force is for a shard that nobody can lead"
        )
    if await position_of(network, state.replicas[successor]) is None:
        raise Unavailable(f"replica {successor} of shard {shard} does not answer")
    promoted = await promote(state, successor, (successor,))
    if promoted is None:
        raise Unavailable(f"somebody may lead shard {shard} yet, or has come to; look at its status and try again")
    event(
        log, logging.ERROR, "leads because an operator said so: what it lacks is lost", shard=shard,
        leader=successor, term=promoted.term, were_in_sync=",".join(state.in_sync),
    )  # fmt: skip
    return promoted


async def _does_not_lead(network: Network, state: ShardState, *, leased: bool) -> bool:
    """Whether it is certain enough that the leader that the topology names leads no more, and will not."""
    if leased:
        return not await _says_it_leads(network, state)
    position = await position_of(network, state.leader_address)
    barred = position is not None and state.led and not position.whole
    return barred and await _says_it_leads(network, state) is False


async def _says_it_leads(network: Network, state: ShardState) -> bool | None:
    """What the leader that the topology names says of that; None if it says nothing."""
    try:
        await ask_once(network, state.leader_address, "followers", [], ASK_SECONDS)
    except NotLeader:
        return False
    except (OSError, TimeoutError, SherdError):
        return None
    return True


async def _has_handed_over(network: Network, state: ShardState, successor: str) -> bool:
    """Whether the leader has handed over though its last answer was late or lost: it says that it leads no more, has
    led in its term, and its log has nothing that the successor's lacks. It may have lost its lease instead.
    """
    await asyncio.sleep(DEMOTION_SECONDS)
    if await _says_it_leads(network, state) is not False:
        return False
    position = await position_of(network, state.leader_address)
    reached = await position_of(network, state.replicas[successor])
    if position is None or reached is None or position.term != state.term or not reached.complete:
        return False
    return position[:2] <= reached[:2]


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
