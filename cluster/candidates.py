"""Who may lead next: of those in sync, the one whose log is the longest of those that answer.

A replica that has lost what was not on its stable storage is still in sync in the topology when it comes back, before
anybody has noticed. So each says whether its log is ``complete``: has all that it ever acknowledged. Where one that is
complete answers, the longest log has all that was acknowledged; else only if everybody in sync has answered. One whose
store was made anew, and has not had all of a leader's log since, is not ``whole`` and is never chosen, once the shard
has been led.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sherd.common.errors import SherdError
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.net.stream import ask_once
from sherd.common.topology.state import ShardState

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
SOON_SECONDS = 0.2
"""How long all are waited for, where those who have answered would do."""


class LogPosition(NamedTuple):
    """Where a replica's log ends, whether it is complete, and its store whole. Of two, the later one is the longer
    log's.
    """

    term: int
    last_lsn: int
    complete: bool
    whole: bool


async def longest_log(network: Network, state: ShardState, without: str, *, complete: bool) -> str:
    """The name of the replica in sync, another than ``without``, that should lead next; empty if none answers that may.
    ``complete``: only one whose log is.
    """
    others = tuple(name for name in state.in_sync if name != without)
    found = await positions_of(network, state, others)
    able = electable(state, found)
    if complete:
        able = {name: position for name, position in able.items() if position.complete}
    elif not _enough(others, found):
        return ""
    return longest(state, able) if able else ""


def electable(state: ShardState, positions: Mapping[str, LogPosition]) -> dict[str, LogPosition]:
    """Those of them that are whole, or all if the shard was never led."""
    return {name: position for name, position in positions.items() if position.whole or not state.led}


def longest(state: ShardState, positions: Mapping[str, LogPosition]) -> str:
    """The name of the replica with the longest log: of the latest term, and in it the furthest.

    Of equal ones rather not the one that led: why it does no more is not known.
    """
    return max(positions, key=lambda name: (positions[name], name != state.leader, name))


def may_elect(state: ShardState, positions: Mapping[str, LogPosition]) -> bool:
    """Whether the longest of these logs is known to have all that was acknowledged."""
    return _enough(state.in_sync, positions)


def _enough(names: Iterable[str], positions: Mapping[str, LogPosition]) -> bool:
    return any(position.complete for position in positions.values()) or positions.keys() >= set(names)


async def positions_of(network: Network, state: ShardState, names: Iterable[str]) -> dict[str, LogPosition]:
    """Of those who answer, by name. It takes up to ``ASK_SECONDS`` if one does not answer who is needed."""
    asked = {
        name: asyncio.create_task(position_of(network, state.replicas[name])) for name in names if state.replicas[name]
    }
    found: dict[str, LogPosition] = {}
    try:
        for seconds in (SOON_SECONDS, ASK_SECONDS):
            if asked and not may_elect(state, found):
                await asyncio.wait(asked.values(), timeout=seconds)
            told = {name: task.result() for name, task in asked.items() if task.done()}
            found = {name: position for name, position in told.items() if position is not None}
    finally:
        for task in asked.values():
            task.cancel()
    return found


async def position_of(network: Network, address: str) -> LogPosition | None:
    """Of one replica; None if it does not say."""
    try:
        match await ask_once(network, address, "position", [], ASK_SECONDS):
            case [int(term), int(last_lsn), bool(complete), *rest]:
                return LogPosition(term, last_lsn, complete, whole=rest[0] is True if rest else True)
    except (OSError, TimeoutError, SherdError) as error:
        event(log, logging.DEBUG, "replica does not tell its position", address=address, error=repr(error))
    return None
