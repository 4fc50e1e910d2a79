"""A follower: pulls its leader's log, appends and applies it, and says how far it is; for as long as it is told to.

One connection at a time to whom the topology calls the leader; when it breaks or falls silent, another after a pause
that doubles, with jitter, so that followers of a leader that comes back do not all arrive at once. A leader of an
older term than this log has seen is not listened to. What a follower can't mend by pulling - a tail that the leader
does not have, a gap that the leader's log no longer fills - ends its life: ``Cut`` and ``Copied`` are for whoever
started it.

A follower whose tables or log turn out to be damaged asks its leader to be told to give them up: only the leader knows
when nobody counts it in sync any more, and until then what it holds may be the last copy of something.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sherd.common.errors import Overloaded, SherdError, StoreFull
from sherd.common.logs import event
from sherd.common.net.stream import Stream
from sherd.common.world import World
from sherd.shard.lsm.adoption import CopiedState
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.quarantine import quarantined
from sherd.shard.replication.comparisons import Comparisons
from sherd.shard.replication.copying import fetch_tables
from sherd.shard.replication.messages import COPY, FORK, LOG, REBUILD, Answer, Position, Pull

log = logging.getLogger(__name__)

PULL_BYTES = 1 << 20
WAIT_MS = 500
HURRY_WAIT_MS_MIN = 10
HURRY_SECONDS = 10.0
"""How long the leader goes on being asked more often after the last read that needed it."""
SILENCE_SECONDS = 5.0
"""How long nothing at all may come in beyond what was asked to wait for."""
CONNECT_SECONDS = 5.0
PAUSE_SECONDS_MIN = 0.02
PAUSE_SECONDS_MAX = 2.0
NO_ROOM = "no room"
QUARANTINE_LOOK_SECONDS = 60.0
BUSY_SECONDS = 0.02
"""Pause before a record is tried again that found no room in memory or on the disk."""


class Cut(Exception):
    """The log behind ``lsn`` is not the leader's."""

    def __init__(self, lsn: int) -> None:
        super().__init__(f"the log behind LSN {lsn} is not the leader's")
        self.lsn = lsn


class Copied(Exception):
    """The leader's log could not be gone on with; its tables are in ``copy/`` and make a new store. What this one holds
    beyond ``fork_lsn`` was never the leader's; 0 if nothing it holds is to be trusted, None if that is not known.
    """

    def __init__(self, state: CopiedState, fork_lsn: int | None) -> None:
        super().__init__("the leader's tables have been copied")
        self.state = state
        self.fork_lsn = fork_lsn


class Follower:
    """Keeps ``engine`` on the log of the leader at ``leader()``; ``end_turn`` commits what was applied.

    ``caught_up`` says that it has had everything that a leader had when it began to follow that one: so it has all that
    was ever acknowledged from here. ``caught_up_at`` is a time, in monotonic seconds, at which the leader had nothing
    that is not here now.

    Nothing is flushed before the leader has answered that it has all of this log, and again after its connection broke:
    in tables the end of a log can't be cut any more. Without a leader nothing comes in, so memory does not grow.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        shard: int,
        leader: Callable[[], str],
        end_turn: Callable[[], None],
        world: World,
    ) -> None:
        self._engine = engine
        self._name = name
        self._shard = shard
        self._leader = leader
        self._end_turn = end_turn
        self._world = world
        self._monotonic = world.clock.monotonic
        self._stream: Stream | None = None
        self._acked_lsn = 0
        self._quarantined = 0
        self._looked_at = float("-inf")
        self._complaint = ""
        self._wait_ms = WAIT_MS
        self._hurry_until = float("-inf")
        self.caught_up = False
        self.caught_up_at = float("-inf")
        self.leader_last_lsn = 0
        self.connected_to = ""
        self.comparisons = Comparisons(engine, world)
        engine.upkeep.flushes_held = True

    async def run(self) -> None:
        """Follow until cancelled. Raises Cut or Copied, and StoreError when the engine is down."""
        pause = PAUSE_SECONDS_MIN
        while True:
            address = self._leader()
            began = self._monotonic()
            if address:
                try:
                    await self._follow(address)
                except (OSError, TimeoutError, SherdError, ValueError) as error:
                    self._engine.check()
                    self._complain(address, error)
                finally:
                    self._drop()
            if self._monotonic() - began > PAUSE_SECONDS_MAX:
                pause = PAUSE_SECONDS_MIN
            await asyncio.sleep(pause * self._world.random.uniform(0.5, 1.0))
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    def synced(self) -> None:
        """More of the log may be on stable storage: tell the leader if it is. To be called after every turn."""
        if self._stream is not None and self._engine.synced_lsn > self._acked_lsn:
            self._acked_lsn = self._engine.synced_lsn
            self._stream.send("ack", [self._position().encode()])

    def hurry(self, stale_seconds: float) -> None:
        """Somebody wants a state that is no older: a leader that has nothing new is to say so often enough for that."""
        now = self._monotonic()
        wait_ms = max(int(stale_seconds * 1000 / 4), HURRY_WAIT_MS_MIN)
        if wait_ms <= self._wait_ms or now > self._hurry_until:
            self._wait_ms = min(wait_ms, WAIT_MS)
            self._hurry_until = now + HURRY_SECONDS

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self.connected_to = ""
        self._engine.upkeep.flushes_held = True

    async def _follow(self, address: str) -> None:
        """One connection, to its end."""
        async with asyncio.timeout(CONNECT_SECONDS):
            self._stream = stream = await Stream.open(self._world.network, address)
            found = await stream.ask("hello", [{"link": self._name, "purpose": "replication"}])
        if not isinstance(found, dict) or found.get("shard") != self._shard:
            raise ConnectionError(f"{address} is not shard {self._shard}: {found!r}")
        self.connected_to = address
        self._complaint = ""
        event(log, logging.INFO, "following", leader=address, last_lsn=self._engine.last_lsn)
        asked_anew = False
        begins_at: int | None = None
        while address == self._leader():
            asked_at = self._monotonic()
            wait_ms = self._wait_ms if asked_at < self._hurry_until else WAIT_MS
            pull = Pull(self._position(), PULL_BYTES, wait_ms)
            self._acked_lsn = self._engine.synced_lsn
            found = await stream.ask_patiently("pull", pull.encode(), WAIT_MS / 1000 + SILENCE_SECONDS)
            answer = Answer.decode(found)
            begins_at = answer.leader.last_lsn if begins_at is None else begins_at
            await self._take(answer, asked_at)
            self.caught_up = self.caught_up or self._engine.last_lsn >= begins_at
            if self._engine.damaged and not asked_anew:
                asked_anew = True
                await self._ask_anew(stream)

    async def _ask_anew(self, stream: Stream) -> None:
        """Have the leader tell this follower to begin anew; it knows the follower by now, since that has pulled."""
        met = self._engine.damaged
        event(log, logging.ERROR, "damaged, asking to begin anew", leader=self.connected_to, met=met)
        async with asyncio.timeout(SILENCE_SECONDS):
            await stream.ask("rebuild", [self._name])

    async def _take(self, answer: Answer, asked_at: float) -> None:
        if answer.leader.term < self._engine.term:
            raise ConnectionError(f"the leader is of term {answer.leader.term}, the log of {self._engine.term}")
        engine = self._engine
        if answer.kind == FORK and engine.installer.manifest.flushed_lsn <= answer.fork_lsn:
            raise Cut(answer.fork_lsn)
        if answer.kind in (FORK, COPY, REBUILD):
            state = await fetch_tables(engine.disk, self._world.network, engine.directory, self.connected_to)
            raise Copied(state, None if answer.kind == COPY else answer.fork_lsn)
        engine.upkeep.flushes_held = False
        self.comparisons.heed(answer.leader.marks)
        self.leader_last_lsn = answer.leader.last_lsn
        engine.time.seen(answer.leader.time_ms)
        engine.retain(answer.leader.needed_lsn or None)
        if answer.kind == LOG and answer.piece is not None:
            for header, body in answer.piece.records():
                if header.last_lsn > engine.last_lsn:
                    try:
                        engine.apply(header, body)
                    except (Overloaded, StoreFull) as error:
                        await self._apply_when_there_is_room(header, body, error)
                    self.comparisons.reach()
            self._end_turn()
        if engine.last_lsn >= answer.leader.last_lsn:
            self.caught_up_at = asked_at

    async def _apply_when_there_is_room(self, header: Any, body: bytes, full: SherdError) -> None:
        """Try again and again to apply a record that found no room."""
        while True:
            self._complain(self.connected_to, full)
            self._end_turn()
            await asyncio.sleep(BUSY_SECONDS)
            try:
                self._engine.apply(header, body)
                if self._complaint == NO_ROOM:
                    self._complaint = ""
                    event(log, logging.INFO, "follows again, there is room", leader=self.connected_to)
                return
            except (Overloaded, StoreFull) as error:
                full = error

    def _position(self) -> Position:
        engine = self._engine
        if self._monotonic() - self._looked_at > QUARANTINE_LOOK_SECONDS:  # an operator empties it
            self._looked_at = self._monotonic()
            self._quarantined = len(quarantined(engine.disk, engine.directory))
        store = engine.installer.manifest.store_id
        return Position(
            self._name, self._world.pid, engine.written_lsn, engine.synced_lsn, engine.terms, store, self._quarantined
        )

    def _complain(self, address: str, error: Exception) -> None:
        """Log a trouble, once until it is over or another."""
        text = f"{type(error).__name__}: {error}"
        trouble = NO_ROOM if isinstance(error, StoreFull) else text  # it names another file each time
        if trouble != self._complaint:
            self._complaint = trouble
            event(log, logging.WARNING, "does not follow", leader=address, reason=text)
