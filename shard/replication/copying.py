"""The follower's side of a copy: fetches its leader's tables into ``copy/``.

It may be cut off anywhere and run again: tables that are complete stay, and the leader is asked for the others only.
The store itself is not touched; it goes on answering for how far it is until all tables are there. What is made of
them then, between two lives of the engine, is ``adopt``'s business.
"""

import asyncio
import contextlib
import logging

from sherd.common.disk import Disk
from sherd.common.logs import event
from sherd.common.net.network import Network
from sherd.common.net.stream import Stream
from sherd.shard.lsm.adoption import PART_SUFFIX, CopiedState, CopyDir
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.replication.copies import decode_state

log = logging.getLogger(__name__)

PIECE_BYTES = 1 << 20
SILENCE_SECONDS = 30.0
"""How long the leader may send nothing at all, until it is given up."""


async def fetch_tables(disk: Disk, network: Network, directory: str, address: str) -> CopiedState:
    """Have every table of the leader in ``copy/``; what they hold. OSError, TimeoutError, SherdError or ValueError if
    that can't be done now.
    """
    async with asyncio.timeout(SILENCE_SECONDS):
        stream = await Stream.open(network, address)
    try:
        match await _ask(stream, "copy", []):
            case [int(copy), found]:
                state = decode_state(found)
            case other:
                raise ValueError(f"a copy begins with {other!r:.100}")
        copies = CopyDir(disk, directory)
        copies.keep_only(state)
        event(log, logging.INFO, "copying", directory=directory, leader=address, tables=len(state.tables))
        for table in state.tables:
            if not copies.has(state, table):
                await _fetch_table(disk, copies, stream, copy, state, table)
        await _ask(stream, "copy_end", [copy])
        return state
    finally:
        stream.close()


async def _fetch_table(
    disk: Disk, copies: CopyDir, stream: Stream, copy: int, state: CopiedState, table: TableMeta
) -> None:
    part = copies.path_of(state, table) + PART_SUFFIX
    with contextlib.closing(disk.create(part)) as file:
        offset = 0
        while offset < table.bytes:
            size = min(PIECE_BYTES, table.bytes - offset)
            data = await _ask(stream, "copy_read", [copy, table.number, offset, size])
            if not isinstance(data, bytes) or len(data) != size:
                raise ValueError(f"the leader's table {table.number} is shorter than it says")
            file.write(data)
            file.write_behind()
            offset += size
        file.sync()
    copies.finish(state, table, part)


async def _ask(stream: Stream, method: str, params: list[object]) -> object:
    return await stream.ask_patiently(method, params, SILENCE_SECONDS)
