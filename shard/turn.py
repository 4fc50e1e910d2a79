"""One loop turn of a shard: requests stage, one commit writes them all, then replies leave, one buffer a connection.

Order at the end of a turn, and why: (1) the commit writes the log, so that nothing is answered that a kill could
lose; (2) a sync starts if somebody waits for one or the policy asks; (3) followers who wait for log are answered
(``ship``); (4) replies whose turn has come leave. One fsync
runs at a time, here or in a thread (``SyncPlace``), and serves everybody who waits.

Invariants: replies leave in ``end`` only, after its commit, whoever made them ready, and only while ``may_answer``
says so: where a leader holds a lease, until its deadline. While a reply is held, a sync is
under way or the end of a turn is due. A failed write or fsync poisons the shard: nothing leaves any more, and
``on_poison`` ends the process so that it is restarted or replaced.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future

import cython

from sherd.common.errors import StoreError
from sherd.common.world import World
from sherd.shard.lsm.options import FsyncPolicy
from sherd.shard.lsm.wal import SyncTicket
from sherd.shard.sync_place import SyncPlace

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.engine import Engine
    from cython.cimports.sherd.shard.replies import ReplyGate, ReplySink
else:
    from sherd.shard.lsm.engine import Engine
    from sherd.shard.replies import ReplyGate, ReplySink

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
"""How long writes must have paused before the last group is covered; twice that at most."""


def gate_slack(policy: FsyncPolicy) -> int | None:
    """How far replies may run ahead of the synced log: None is unbounded."""
    return {"always": 0, "ops": policy.ops}.get(policy.mode)


@cython.cclass
class Turn:
    """Ends loop turns for one engine and gate. ``schedule`` is called by whoever has staged or answered something."""

    def __init__(
        self,
        engine: Engine,
        gate: ReplyGate,
        policy: FsyncPolicy,
        loop: asyncio.AbstractEventLoop,
        after_commit: Callable[[], None],
        on_poison: Callable[[StoreError], None],
        world: World,
        place: SyncPlace | None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Without a ``place`` every sync runs in the thread."""
        self._engine = engine
        self._gate = gate
        self._policy = policy
        self._loop = loop
        self._after_commit = after_commit
        self._on_poison = on_poison
        self._clock = world.clock
        self._place = place
        self._idle_seconds = idle_seconds
        self._ops = policy.ops if policy.mode == "ops" else 0
        self.ship: Callable[[], object] | None = None
        self.may_answer: Callable[[], bool] | None = None
        self._scheduled = self._stopped = False
        self._syncing: Future[None] | None = None
        self._sync_wanted = False
        self._synced = asyncio.Event()  # set when a sync has ended
        self._segment = engine.segment
        self._covered_lsn = 0
        self._idle_lsn = 0
        self._delays_running = 0
        self._thread = world.thread("fsync")
        self._timers: list[asyncio.TimerHandle] = []

    def start(self) -> None:
        """Begin the periodic work: interval syncs and the idle record."""
        if self._policy.mode == "interval":
            self._every(self._policy.interval_seconds, self._interval_sync)
        self._every(self._idle_seconds, self._idle)

    @cython.ccall
    def schedule(self) -> None:
        """End the turn once everything that is ready has been handled."""
        if not self._scheduled and not self._stopped:
            self._scheduled = True
            self._loop.call_soon(self.end)

    @cython.ccall
    def end(self) -> None:
        """Commit, sync if due, release."""
        self._scheduled = False
        if self._stopped:
            return
        try:
            self._engine.commit()  # also when nothing is staged: it tells if the engine is down
            if self._is_sync_due():
                self._start_sync(self._gate.held() > 0)
        except StoreError as error:
            self.poison(error)
            return
        self._delay_writes()
        if self.ship is not None:
            self.ship()
        if self.may_answer is not None and not self.may_answer():
            self._gate.drop()
            return
        sink: ReplySink
        for sink in self._gate.take_dirty():
            data = sink.take()
            if sink.outlet is not None:
                sink.outlet.send(data)
        self._after_commit()

    async def settle(self) -> None:
        """Return when no sync is under way; for who has to sync here and now."""
        while self._syncing is not None:
            await self._synced.wait()

    async def stop(self) -> None:
        """Commit and sync what is staged, release every reply, and end the periodic work. After poison: only that."""
        while not self._stopped:
            self._gate.release_delayed(self._gate.delayed())
            self.end()
            if self._stopped or (self._syncing is None and self._engine.synced_lsn >= self._engine.last_lsn):
                break
            self.want_sync()
            if self._syncing is not None:
                await self._synced.wait()
        self._stopped = True
        for timer in self._timers:
            timer.cancel()
        self._thread.shutdown(wait=False)

    def poison(self, error: StoreError) -> None:
        """The log failed: let nothing leave any more, and tell."""
        if self._stopped:
            return
        log.critical("the log failed: nothing more is answered error=%s", error)
        self._stopped = True
        self._synced.set()
        self._gate.drop()
        self._on_poison(error)

    @cython.cfunc
    def _is_sync_due(self) -> cython.bint:
        """Whether somebody waits for a sync, or has to; a log that has rolled is synced under every policy, so that
        the files of old segments can go."""
        engine: Engine = self._engine
        if engine.segment != self._segment:
            self._segment = engine.segment
            return True
        if self._ops > 0 and engine.last_lsn - engine.synced_lsn >= self._ops:
            return True
        return self._sync_wanted or self._gate.held() > 0

    def want_sync(self) -> None:
        """Have what is written synced soon, whatever the policy."""
        try:
            self._start_sync(False)
        except StoreError as error:
            self.poison(error)

    def _start_sync(self, awaited: bool) -> None:
        """Sync what is written; if a sync is under way, once more after it. Raises StorePoisoned.

        ``awaited``: replies that leave at the end of this turn may wait for it.
        """
        self._sync_wanted = self._syncing is not None
        if self._syncing is not None:
            return
        ticket = self._engine.sync_begin()
        if ticket is None:
            return  # nothing is unsynced
        if awaited and self._place is not None and self._place.is_here(self._clock.monotonic(), ticket.bytes):
            self._sync_here(ticket, self._place)
            return

        def done(future: Future[None]) -> None:
            self._loop.call_soon_threadsafe(self._end_sync, ticket, future)

        self._synced.clear()
        self._syncing = self._thread.submit(ticket.run)
        self._syncing.add_done_callback(done)

    def _sync_here(self, ticket: SyncTicket, place: SyncPlace) -> None:
        began = self._clock.monotonic()
        error: OSError | None = None
        try:
            ticket.run()
        except OSError as failure:
            error = failure
        self._engine.sync_end(ticket, error)
        now = self._clock.monotonic()
        place.took(now, now - began)
        self._gate.synced(self._engine.synced_lsn)

    def _end_sync(self, ticket: SyncTicket, future: Future[None]) -> None:
        self._syncing = None
        self._synced.set()
        if self._stopped:
            return
        error = future.exception()
        try:
            if error is not None and not isinstance(error, Exception):
                raise error
            self._engine.sync_end(ticket, error)
        except StoreError as failure:
            self.poison(failure)
            return
        self._gate.synced(self._engine.synced_lsn)
        self.end()

    def _interval_sync(self) -> None:
        if self._engine.written_lsn > self._engine.synced_lsn:
            self.want_sync()

    @cython.cfunc
    def _delay_writes(self) -> None:
        """Start the delay of the write replies that back-pressure has held since the last turn."""
        count: cython.Py_ssize_t = self._gate.delayed() - self._delays_running
        if count > 0:
            self._delays_running += count
            self._loop.call_later(self._gate.write_delay_seconds, self._let_go, count)

    def _let_go(self, count: int) -> None:
        self._delays_running -= count
        self._gate.release_delayed(count)
        self.schedule()

    def _idle(self) -> None:
        """Cover the last group: once writes have paused, they are synced, and then an empty record says so in the log.

        Under every policy: it costs a store that rests nothing, and damage to its log can be told from a torn tail.
        """
        engine = self._engine
        last = engine.last_lsn
        paused = last == self._idle_lsn
        self._idle_lsn = last
        if not paused or last == self._covered_lsn:
            return
        if engine.synced_lsn < last:
            self.want_sync()
            return
        try:
            engine.append_empty()
        except StoreError as error:
            self.poison(error)
            return
        self._covered_lsn = last
        self.want_sync()

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        position = len(self._timers)

        def tick() -> None:
            if not self._stopped:
                action()
                self._timers[position] = self._loop.call_later(seconds, tick)

        self._timers.append(self._loop.call_later(seconds, tick))
