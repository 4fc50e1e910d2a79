"""What a replica does about the others: follows the leader, or leads and is followed; and the way between.

| is | the topology says | then |
|---|---|---|
| follower | another leads | follows it; where that is may change at any time |
| follower | this one leads, in a later term | stops following, takes its predecessor's log, begins the term |
| leader | this one leads in its term | is followed by the others, waits for those in sync |
| leader | anything else | ``SteppedDown``: this life ends, and the next one follows |

A follower whose log can't be mended by following ends its life as well: ``Cut``, ``Copied``.
"""

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sherd.common.clock import Clock
from sherd.common.disk import Disk
from sherd.common.logs import event
from sherd.common.topology.state import ShardState
from sherd.common.types import ShardId
from sherd.shard.admin import ShardAdmin
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.log_tail import LogPiece
from sherd.shard.replication.feed import Feeds
from sherd.shard.replication.follower import Follower
from sherd.shard.replication.succession import take_over_log
from sherd.shard.replies import ReplyGate
from sherd.shard.turn import Turn

log = logging.getLogger(__name__)

SHIP_SECONDS = 0.002
"""How long followers wait for more to be written, where acknowledgements do not wait for them."""


class SteppedDown(Exception):
    """Another leads this shard now, or this replica in a later term."""


class Replication:
    """The role of one replica, for one life of its engine."""

    def __init__(
        self,
        config: ShardConfig,
        engine: Engine,
        gate: ReplyGate,
        turn: Turn,
        admin: ShardAdmin,
        loop: asyncio.AbstractEventLoop,
        disk: Disk,
        clock: Clock,
    ) -> None:
        self._config = config
        self._engine = engine
        self._gate = gate
        self._turn = turn
        self._admin = admin
        self._loop = loop
        self._disk = disk
        self._clock = clock
        self._needs_sync = config.engine.fsync_policy.mode == "always"
        self._state = ShardState(ShardId(config.id))
        self._feeds: Feeds | None = None
        self._ship_scheduled = False
        self._follower: Follower | None = None
        self._following: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log")

    def begin(self, state: ShardState) -> None:
        """Take up the role that the engine was opened for."""
        self._state = state
        if self._engine.following:
            self._follow()
        else:
            self._lead(state)

    async def adopt(self, state: ShardState) -> None:
        """The topology has changed, perhaps. SteppedDown if this is not the leader any more."""
        self._state = state
        leads = state.leader == self._config.replica
        if self._engine.following:
            if leads and state.term > self._engine.term:
                await self._succeed(state)
        elif not leads or state.term != self._engine.term:
            event(
                log, logging.WARNING, "stepping down", shard=self._config.id, replica=self._config.replica,
                term=self._engine.term, leader=state.leader, its_term=state.term,
            )  # fmt: skip
            raise SteppedDown(f"{state.leader} leads in term {state.term}")
        elif self._feeds is not None:
            self._feeds.set_members(state.revision, state.followers, set(state.in_sync) - {state.leader})
            self._turn.schedule()

    def tick(self) -> None:
        """To be called regularly. Raises what has ended the following."""
        if self._feeds is not None and self._feeds.tick():
            self._turn.schedule()
        if self._follower is not None:
            self._follower.comparisons.tick()
        if self._following is not None and self._following.done():
            self._following.result()

    def after_turn(self) -> None:
        """A turn has ended."""
        if self._follower is not None:
            self._follower.synced()

    async def stop(self) -> None:
        """Neither follow nor be followed."""
        await self._stop_following()
        if self._feeds is not None:
            self._feeds.close()
            self._feeds = None
            self._admin.feeds = self._admin.comparisons = None
        self._thread.shutdown(wait=True)

    def describe(self) -> dict[str, object]:
        """For status: ``role``, and what the role knows of the others."""
        if self._feeds is not None:
            return {"role": "leader", "followers": self._feeds.describe()}
        found: dict[str, object] = {"role": "follower", "followers": {}}
        if self._follower is not None:
            found["follows"] = self._follower.connected_to
        return found

    def _follow(self) -> None:
        self._follower = Follower(
            self._engine,
            self._config.replica,
            self._config.id,
            lambda: self._state.leader_address if self._state.leader != self._config.replica else "",
            self._end_turn,
            self._clock.monotonic,
            random.Random(),
        )
        self._admin.comparisons = self._follower.comparisons
        self._following = self._loop.create_task(self._follower.run())

    async def _stop_following(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(self._following, return_exceptions=True)
        if self._follower is not None:
            self._admin.comparisons = None
            self._follower.comparisons.close()
        self._following = self._follower = None

    async def _succeed(self, state: ShardState) -> None:
        """Become the leader."""
        began = self._clock.monotonic()
        await self._stop_following()
        self._turn.end()
        await self._turn.settle()
        records = sum(self._take_over(name) for name in state.predecessors)
        self._engine.lead(state.term)
        self._gate.synced(self._engine.synced_lsn)
        self._lead(state)
        event(
            log, logging.WARNING, "leads now", shard=self._config.id, replica=self._config.replica, term=state.term,
            predecessors=",".join(state.predecessors), records_taken_over=records, last_lsn=self._engine.last_lsn,
            seconds=round(self._clock.monotonic() - began, 3),
        )  # fmt: skip

    def _take_over(self, predecessor: str) -> int:
        """Take the log of the one who led before, if it is on this host; the number of records."""
        directory = self._config.directory_of(predecessor)
        if not self._disk.exists(directory) or directory == os.path.abspath(self._config.data):
            return 0
        return take_over_log(self._engine, self._disk, directory)

    def _end_turn(self) -> None:
        """Commit what was applied; where only what is durable counts, make it so."""
        self._turn.end()
        if self._needs_sync:
            self._turn.want_sync()

    def _lead(self, state: ShardState) -> None:
        if len(state.replicas) == 1:
            return
        self._feeds = feeds = Feeds(
            self._engine, self._gate, self._clock.monotonic, self._read_in_thread, needs_sync=self._needs_sync
        )
        feeds.set_members(state.revision, state.followers, set(state.in_sync) - {state.leader})
        self._turn.ship = feeds.serve if self._config.acks == "insync" else self._ship_soon
        self._admin.feeds, self._admin.comparisons = feeds, feeds.comparisons

    def _ship_soon(self) -> None:
        """Nobody waits for the followers: let what several turns write go to them together."""
        if not self._ship_scheduled:
            self._ship_scheduled = True
            self._loop.call_later(SHIP_SECONDS, self._ship)

    def _ship(self) -> None:
        self._ship_scheduled = False
        if self._feeds is not None and self._feeds.serve():
            self._turn.schedule()

    def _read_in_thread(
        self, read: Callable[[], LogPiece | None], then: Callable[[LogPiece | None, Exception | None], None]
    ) -> None:
        def done(future: Future[LogPiece | None]) -> None:
            self._loop.call_soon_threadsafe(finish, future)

        def finish(future: Future[LogPiece | None]) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            then(None if error is not None else future.result(), error)
            self._turn.schedule()

        self._thread.submit(read).add_done_callback(done)
