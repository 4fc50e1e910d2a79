"""Who may lead next: of those in sync, the one whose log is the longest of those that answer."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from sherd.common.errors import SherdError
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.net.stream import ask_once
from sherd.common.topology.state import ShardState

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0


async def longest_log(network: Network, state: ShardState, without: Iterable[str] = ()) -> str:
    """The name of the replica in sync that should lead next; empty if none answers."""
    found = await positions_of(network, state, [name for name in state.in_sync if name not in without])
    return longest(found) if found else ""


def longest(positions: Mapping[str, tuple[int, int]]) -> str:
    """The name of the replica with the longest log: of the latest term, and in it the furthest."""
    return max(positions, key=lambda name: (positions[name], name))


async def positions_of(network: Network, state: ShardState, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(term, last LSN) of the logs of those who answer, by name."""
    asked = [name for name in names if state.replicas[name]]
    told = await asyncio.gather(*(position_of(network, state.replicas[name]) for name in asked))
    return {name: position for name, position in zip(asked, told, strict=True) if position is not None}


async def position_of(network: Network, address: str) -> tuple[int, int] | None:
    """(term, last LSN) of a replica's log; None if it does not say."""
    try:
        match await ask_once(network, address, "position", [], ASK_SECONDS):
            case [int(term), int(last_lsn)]:
                return term, last_lsn
    except (OSError, TimeoutError, SherdError) as error:
        event(log, logging.DEBUG, "replica does not tell its position", address=address, error=repr(error))
    return None
