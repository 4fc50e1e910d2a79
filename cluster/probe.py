"""Asks a process whether it still serves: a ``ping`` on a connection of its own.

A process that is stopped or stuck holds its connections and its lock, so only a question with a deadline finds it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from sherd.common.net.address import parse_address
from sherd.common.wire.encode import request

INTERVAL_SECONDS = 1.0

Probe = Callable[[str], Awaitable[None]]

_PING = request(1, "ping", [])
_ANSWER_BYTES_MAX = 4096


async def ping(address: str) -> None:
    """Return when the process at ``address`` has answered; OSError if it can't be asked."""
    where = parse_address(address)
    if where.is_unix:
        reader, writer = await asyncio.open_unix_connection(where.path)
    else:
        reader, writer = await asyncio.open_connection(where.host, where.port)
    try:
        writer.write(_PING)
        if not await reader.read(_ANSWER_BYTES_MAX):
            raise ConnectionError(f"{address} closed the connection")
    finally:
        writer.close()


async def until_silent(probe: Probe, address: str, seconds_max: float) -> None:
    """Ask again and again; return when there was no answer for ``seconds_max``."""
    while await _answers(probe, address, seconds_max):
        await asyncio.sleep(INTERVAL_SECONDS)


async def _answers(probe: Probe, address: str, seconds_max: float) -> bool:
    try:
        async with asyncio.timeout(seconds_max):
            while True:
                try:
                    await probe(address)
                    return True
                except OSError:
                    # Refused or cut: perhaps its queue is full. Until the time is up it may still answer.
                    await asyncio.sleep(INTERVAL_SECONDS / 10)
    except TimeoutError:
        return False
