"""Who may lead next: of those in sync, the one whose log is the longest of those that answer."""

import asyncio
import logging
from collections.abc import Iterable

from sherd.common.errors import SherdError
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.net.stream import ask_once
from sherd.common.topology.state import ShardState

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0


async def longest_log(network: Network, state: ShardState, without: Iterable[str] = ()) -> str:
    """The name of the replica in sync that should lead next; empty if none answers."""
    names = [name for name in state.in_sync if name not in without and state.replicas[name]]
    positions = await asyncio.gather(*(position_of(network, state.replicas[name]) for name in names))
    found = [(position, name) for position, name in zip(positions, names, strict=True) if position is not None]
    return max(found)[1] if found else ""


async def position_of(network: Network, address: str) -> tuple[int, int] | None:
    """(term, last LSN) of a replica's log; None if it does not say."""
    try:
        match await ask_once(network, address, "position", [], ASK_SECONDS):
            case [int(term), int(last_lsn)]:
                return term, last_lsn
    except (OSError, TimeoutError, SherdError) as error:
        event(log, logging.INFO, "replica does not tell its position", address=address, error=repr(error))
    return None
