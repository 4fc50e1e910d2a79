"""What a replica does about the others: follows the leader, or leads and is followed; and the way between.

| is | happens | then |
|---|---|---|
| follower | another leads | follows it; where that is may change at any time |
| follower | this one leads, in a later term | claims its seat, takes its predecessor's log, begins the term |
| leader | it leads in its term | is followed by the others, waits for those in sync |
| leader | another leads, or its seat's deadline is over | ``SteppedDown``: this life ends, and the next one follows |
| leader | it is asked to hand over | refuses requests until its successor has everything, then follows |
| has handed over | without leases, nobody else comes to lead | ``Stranded``: the process ends |
| store made anew | this one leads, and the shard was led before | does not lead in that term |

A leader whose successor does not come to have everything in time serves on. Every life begins as a follower, so a term
is never led twice. A follower whose log can't be mended by following ends its life as well: ``Cut``, ``Copied``.

A store that was made anew, since its directory was lost perhaps, lacks what the shard had, and has forgotten which
terms it led. If another is in sync, that is to lead: under a supervisor the process ends as with a damaged store. Else
it waits for an operator to say who leads.
"""

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Callable
from concurrent.futures import Future

from sherd.common.errors import Overloaded, SherdError, StoreCorrupt, StoreError, StoreFull, StoreLocked
from sherd.common.logs import event
from sherd.common.topology.state import ShardState
from sherd.common.types import ShardId
from sherd.common.world import World
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.log_tail import LogPiece
from sherd.shard.replication.feed import Feeds
from sherd.shard.replication.follower import Follower
from sherd.shard.replication.role_changes import RoleChanges
from sherd.shard.replication.seat import Seat
from sherd.shard.replication.stale_reads import StaleReads
from sherd.shard.replication.succession import take_over_log
from sherd.shard.service import ShardService
from sherd.shard.turn import Turn

log = logging.getLogger(__name__)

SHIP_SECONDS = 0.002
"""How long followers wait for more to be written, where acknowledgements do not wait for them."""
HAND_OVER_SECONDS = 2.0
"""How long a leader refuses requests for a successor that lacks something, after it was last asked to hand over."""


DRAIN_LOOK_SECONDS = 0.005
LEAD_AGAIN_SECONDS = 0.5
STRANDED_SECONDS = 5.0
"""How long after it has handed over a replica waits for the topology to say so; longer than whoever conducts that."""


class Stranded(Exception):
    """This leader has handed over, and nobody was made leader: only once its process is gone that can be mended."""


class SteppedDown(Exception):
    """Another leads this shard now, or this replica in a later term, or nobody knows."""


class Replication:
    """The role of one replica, for one life of its engine."""

    def __init__(
        self,
        config: ShardConfig,
        seat: Seat,
        world: World,
        loop: asyncio.AbstractEventLoop,
        service: ShardService,
        turn: Turn,
        changes: RoleChanges,
    ) -> None:
        self._config = config
        self._seat = seat
        self._world = world
        self._loop = loop
        self._service = service
        self._engine = service.engine
        self._gate = service.gate
        self._turn = turn
        self._changes = changes
        self._needs_sync = config.engine.fsync_policy.mode == "always"
        self._state = ShardState(ShardId(config.id))
        self._feeds: Feeds | None = None
        self._ship_scheduled = False
        self._follower: Follower | None = None
        self._following: asyncio.Task[None] | None = None
        self._frozen_until = 0.0
        self._handed_over_to = ""
        self._handed_over_at = math.inf
        self._barred_term = 0
        self._complaint = ""
        self._thread = world.thread("log")
        service.following = True
        if seat.leased:
            turn.may_answer = self._may_answer
        service.admin.hand_over = self._hand_over
        service.admin.is_complete = lambda: self.complete
        # What was acknowledged and not synced is lost with the machine's power, and all of it with the disk.
        intact = self._engine.opened_clean or self._needs_sync
        self._complete = intact and not self._engine.installer.manifest.partial

    @property
    def complete(self) -> bool:
        """Whether this log has all that was ever acknowledged from it: nothing was lost, or all was made up for."""
        caught_up = self._follower is not None and self._follower.caught_up
        self._complete = self._complete or caught_up or not self._engine.following
        return self._complete

    async def begin(self, state: ShardState) -> None:
        """Take up the role that the topology gives this replica; it may take a while to lead."""
        self._state = state
        if state.leader == self._config.replica and state.term <= self._engine.term and not self._seat.leased:
            raise StoreError(
                f"{self._config.data} has seen term {self._engine.term}, the topology is of term {state.term}: it is "
                "an older one, restored from a backup perhaps; use the one that belongs to the data"
            )
        if self._is_called() and state.led and self._engine.installer.manifest.partial:
            self._bar(state)
        if self._is_called():
            await self._try_to_lead()
        if self._engine.following:
            self._follow()

    def _bar(self, state: ShardState) -> None:
        """Do not lead in the term of ``state``, nor again if it was this one that did, with a store that was made anew.
        StoreCorrupt if that has a supervisor look for another.
        """
        others = len(state.in_sync) > 1
        if others and not self._seat.leased:
            raise StoreCorrupt(
                f"{self._config.data} has been made anew and lacks what shard {state.id} had: another is to lead"
            )
        self._barred_term = state.term
        event(
            log, logging.ERROR, "not leading with a store that was made anew", shard=state.id,
            replica=self._config.replica, directory=self._config.data,
            waiting_for="another in sync" if others else "the directory of before, or `sherd failover --force`",
        )  # fmt: skip

    async def adopt(self, state: ShardState) -> None:
        """To be called regularly, with what the topology says now. Raises what ends this life: ``SteppedDown`` if this
        is not the leader any more, and what has ended the following.
        """
        changed, self._state = state is not self._state, state
        if self._follower is not None:
            self._follower.comparisons.tick()
        if self._following is not None and self._following.done():
            self._following.result()
        if self._engine.following:
            if self._engine.installer.manifest.partial and self.complete:
                self._note_whole()
            if self._is_called():
                await self._try_to_lead()
            if self._engine.following and self._follower is None:
                self._follow()
            self._check_not_stranded(state)
            return
        if self._handed_over_to:
            await self._demote()
            return
        self._check_seat(state)
        if self._feeds is None and len(state.replicas) > 1:
            self._feed(state)
        elif self._feeds is not None:
            if changed:
                self._feeds.set_members(state.revision, state.followers, set(state.in_sync) - {state.leader})
            if self._feeds.tick() or changed:
                self._turn.schedule()

    def _note_whole(self) -> None:
        with contextlib.suppress(StoreFull):  # then it is noted at another time
            self._engine.make_whole()

    def _is_called(self) -> bool:
        """Whether the topology calls this replica, which follows, to lead."""
        seen = max(self._engine.term, self._barred_term)
        return self._state.leader == self._config.replica and self._state.term > seen

    def _check_not_stranded(self, state: ShardState) -> None:
        """Of one who has handed over: Stranded if nobody was made leader."""
        if self._seat.leased or (state.leader, state.term) != (self._config.replica, self._engine.term):
            return
        if self._world.clock.monotonic() - self._handed_over_at > STRANDED_SECONDS:
            raise Stranded(f"shard {state.id} was handed over in term {state.term}, and nobody was made leader")

    def _check_seat(self, state: ShardState) -> None:
        """Of a leader: SteppedDown unless it still is that."""
        if self._frozen_until and self._world.clock.monotonic() > self._frozen_until:
            self._frozen_until = 0.0
            self._service.following = False
            event(log, logging.WARNING, "not handed over: the successor lacks something, leading on", shard=state.id)
        if state.leader != self._config.replica or state.term != self._engine.term:
            self._step_down(f"{state.leader} leads in term {state.term}")
        if self._world.clock.boottime() >= self._seat.deadline:
            self._step_down("the lease was not renewed in time")

    def _step_down(self, why: str) -> None:
        event(
            log, logging.WARNING, "stepping down", shard=self._config.id, replica=self._config.replica,
            term=self._engine.term, why=why,
        )  # fmt: skip
        self._changes.stepped_down += 1
        raise SteppedDown(why)

    def _may_answer(self) -> bool:
        return self._engine.following or self._world.clock.boottime() < self._seat.deadline

    def _hand_over(self, successor: str, term: int) -> bool:
        """Refuse requests from now on; True once ``successor`` has everything, which is the end of this leader."""
        if self._feeds is None or term != self._engine.term:
            return False
        self._service.following = True
        self._frozen_until = self._world.clock.monotonic() + HAND_OVER_SECONDS
        owed = self._engine.staged or self._gate.held() or self._gate.copying() or self._gate.delayed()
        if not self._handed_over_to and not owed and self._feeds.has_all(successor):
            self._handed_over_to = successor
        return self._handed_over_to == successor

    async def _demote(self) -> None:
        """Follow: this leader has handed over, and nothing was done here since."""
        self._handed_over_to, self._frozen_until = "", 0.0
        self._handed_over_at = self._world.clock.monotonic()
        self._complete = True  # it has led
        self._changes.handed_over += 1
        self._stop_feeding()
        self._gate.follow()
        self._engine.follow()
        self._follow()
        await self._seat.resign()
        event(
            log, logging.WARNING, "handed over, follows now", shard=self._config.id, replica=self._config.replica,
            last_lsn=self._engine.last_lsn,
        )  # fmt: skip

    def after_turn(self) -> None:
        """A turn has ended."""
        if self._follower is not None:
            self._follower.synced()

    async def let_others_have_all(self) -> None:
        """Before a leader on one of many hosts stops: refuse requests, and wait a while for who is in sync to have all.

        Under a supervisor its successor finds what it lacks in this one's directory.
        """
        if self._feeds is None or not self._seat.leased:
            return
        self._service.following = True
        clock = self._world.clock
        until = clock.monotonic() + HAND_OVER_SECONDS
        while self._feeds is not None and not self._feeds.all_have_all() and clock.monotonic() < until:
            await asyncio.sleep(DRAIN_LOOK_SECONDS)

    async def stop(self) -> None:
        """Neither follow nor be followed."""
        await self._stop_following()
        self._stop_feeding()
        self._thread.shutdown(wait=True)

    def _stop_feeding(self) -> None:
        if self._feeds is not None:
            self._feeds.close()
            admin = self._service.admin
            self._feeds = admin.feeds = admin.comparisons = self._turn.ship = None

    def describe(self) -> dict[str, object]:
        """For status: ``role``, and what the role knows of the others."""
        if not self._engine.following:
            return {"role": "leader", "followers": {} if self._feeds is None else self._feeds.describe()}
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
            self._world,
        )
        admin = self._service.admin
        admin.comparisons = self._follower.comparisons
        admin.stale_reads = StaleReads(self._engine, self._config.id, self._follower, self._world.clock.monotonic)
        self._following = self._loop.create_task(self._follower.run())

    async def _stop_following(self) -> None:
        self._complete = self.complete
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(self._following, return_exceptions=True)
        admin = self._service.admin
        if self._follower is not None:
            self._follower.comparisons.close()
            admin.comparisons = None
        self._following = self._follower = admin.stale_reads = None

    async def _try_to_lead(self) -> None:
        """Lead as the topology says, if the seat is to be had. It is asked for again at the next call if not."""
        state = self._state
        try:
            claimed = await self._seat.claim(state)
        except SherdError as error:
            self._complain(f"the seat of the leader can't be claimed now: {error}")
            return
        if not claimed:
            self._complain(f"the seat of the leader in term {state.term} is not to be had")
        elif state is self._state:
            try:
                await self._lead(state)
            except (Overloaded, StoreFull, StoreLocked) as error:
                self._complain(f"can't begin to lead now, trying again: {error}")
                await self._seat.resign()
                await asyncio.sleep(LEAD_AGAIN_SECONDS)

    async def _lead(self, state: ShardState) -> None:
        began = self._world.clock.monotonic()
        await self._stop_following()
        self._engine.upkeep.flushes_held = False
        self._turn.end()
        await self._turn.settle()
        records = sum(self._take_over(name) for name in state.predecessors)
        self._engine.lead(state.term)
        self._changes.led += 1
        self._gate.synced(self._engine.synced_lsn)
        if len(state.replicas) > 1:
            self._feed(state)
        self._service.following = False
        event(
            log, logging.WARNING if state.predecessors else logging.INFO, "leads now", shard=self._config.id,
            replica=self._config.replica, term=state.term, predecessors=",".join(state.predecessors),
            records_taken_over=records, last_lsn=self._engine.last_lsn,
            seconds=round(self._world.clock.monotonic() - began, 3),
        )  # fmt: skip

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            event(log, logging.WARNING, text, shard=self._config.id, replica=self._config.replica)

    def _take_over(self, predecessor: str) -> int:
        """Take the log of the one who led before, if it is on this host; the number of records."""
        directory = self._config.directory_of(predecessor)
        if not self._world.disk.exists(directory) or directory == os.path.abspath(self._config.data):
            return 0
        return take_over_log(self._engine, self._world.disk, directory)

    def _end_turn(self) -> None:
        """Commit what was applied; where only what is durable counts, make it so."""
        self._turn.end()
        if self._needs_sync:
            self._turn.want_sync()

    def _feed(self, state: ShardState) -> None:
        """Be followed."""
        self._feeds = feeds = Feeds(
            self._engine, self._gate, self._world, self._read_in_thread, needs_sync=self._needs_sync
        )
        feeds.set_members(state.revision, state.followers, set(state.in_sync) - {state.leader})
        self._turn.ship = feeds.serve if self._config.acks == "insync" else self._ship_soon
        self._service.admin.feeds, self._service.admin.comparisons = feeds, feeds.comparisons

    def _ship_soon(self) -> None:
        """Let what several turns write go to followers together, unless a reply waits for them."""
        if self._gate.copying() > 0 and self._feeds is not None:
            self._feeds.serve()
        elif not self._ship_scheduled:
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
