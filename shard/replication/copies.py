"""The leader's side of a copy: its tables as they are at one moment, pinned until the follower has them.

``copy`` begins one and tells what there is, ``copy_read`` gives a piece of a table, ``copy_end`` lets go. A copy that
nobody reads from for ``IDLE_SECONDS`` is given up; its follower begins another and takes only what it lacks.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from sherd.common.errors import BadRequest, Overloaded, Unavailable
from sherd.common.world import World
from sherd.shard.lsm.adoption import CopiedState
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import table_name
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.version import Version

IDLE_SECONDS = 60.0
PIECE_BYTES_MAX = 4 << 20
COPIES_MAX = 8


def encode_state(state: CopiedState) -> list[Any]:
    """MessagePack-able."""
    tables = [list(table.row()) for table in state.tables]
    terms = [list(term) for term in state.terms]
    return [state.store_id, tables, state.flushed_lsn, state.logged_ms, terms]


def decode_state(found: object) -> CopiedState:
    """ValueError for anything that ``encode_state`` does not give."""
    match found:
        case [bytes(store_id), list(tables), int(flushed_lsn), int(logged_ms), list(terms)]:
            try:
                metas = tuple(TableMeta(*table) for table in tables)
                return CopiedState(store_id, metas, flushed_lsn, logged_ms, tuple((t, lsn) for t, lsn in terms))
            except TypeError as error:
                raise ValueError(f"a copy's tables are malformed: {error}") from error
    raise ValueError("a copy's state is malformed")


@dataclass(slots=True)
class _Copy:
    version: Version
    sizes: dict[int, int]
    read_at: float


class Copies:
    """The copies under way."""

    def __init__(self, engine: Engine, world: World) -> None:
        self._engine = engine
        self._world = world
        self._monotonic = world.clock.monotonic
        self._copies: dict[int, _Copy] = {}

    def begin(self) -> list[Any]:
        """``[id, state]`` of a new copy. Overloaded if there are too many."""
        if len(self._copies) >= COPIES_MAX:
            raise Overloaded(f"{COPIES_MAX} copies of this shard are under way")
        installer = self._engine.installer
        state = CopiedState.of(installer.manifest)
        number = self._world.random.getrandbits(63)
        sizes = {table.number: table.bytes for table in state.tables}
        self._copies[number] = _Copy(installer.pin(), sizes, self._monotonic())
        return [number, encode_state(state)]

    def read(self, copy: int, table: int, offset: int, size: int) -> bytes:
        """Bytes of a table. Unavailable if the copy was given up, BadRequest if the table is not of it."""
        found = self._copies.get(copy)
        if found is None:
            raise Unavailable("this copy has been given up; begin another")
        if table not in found.sizes or not 0 <= offset < found.sizes[table] or not 0 < size <= PIECE_BYTES_MAX:
            raise BadRequest(f"a copy has no {size} bytes at {offset} of table {table}")
        found.read_at = self._monotonic()
        with contextlib.closing(self._world.disk.open_read(f"{self._engine.directory}/{table_name(table)}")) as file:
            return file.pread(size, offset)

    def end(self, copy: int) -> None:
        """Let go of a copy's tables. Harmless when repeated."""
        found = self._copies.pop(copy, None)
        if found is not None:
            self._engine.installer.release(found.version)

    def tick(self) -> None:
        """Give up copies that nobody reads from. To be called regularly."""
        now = self._monotonic()
        for copy in [copy for copy, found in self._copies.items() if now - found.read_at > IDLE_SECONDS]:
            self.end(copy)

    def close(self) -> None:
        """Let go of all."""
        for copy in list(self._copies):
            self.end(copy)
