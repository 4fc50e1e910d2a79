"""One loop turn of a shard: requests stage, one commit writes them all, then replies leave, one buffer a connection.

Order at the end of a turn, and why: (1) the commit writes the log, so that nothing is answered that a kill could
lose; (2) a sync starts if somebody waits for one or the policy asks; (3) replies whose turn has come leave. fsync runs
in a thread, one at a time, and serves everybody who waits. A failed write or fsync poisons the shard: nothing leaves
any more, and ``on_poison`` ends the process so that it is restarted or replaced.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sherd.common.errors import StoreError
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.options import FsyncPolicy
from sherd.shard.lsm.wal import SyncTicket
from sherd.shard.replies import ReplyGate

log = logging.getLogger(__name__)

IDLE_TICK_SECONDS = 1.0


def gate_slack(policy: FsyncPolicy) -> int | None:
    """How far replies may run ahead of the synced log: None is unbounded."""
    return {"always": 0, "ops": policy.ops}.get(policy.mode)


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
    ) -> None:
        self._engine = engine
        self._gate = gate
        self._policy = policy
        self._loop = loop
        self._after_commit = after_commit
        self._on_poison = on_poison
        self._scheduled = False
        self._stopped = False
        self._syncing: Future[None] | None = None
        self._sync_wanted = False
        self._covered_lsn = 0
        self._idle_lsn = 0
        self._delays_running = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fsync")
        self._timers: list[asyncio.TimerHandle] = []

    def start(self) -> None:
        """Begin the periodic work: interval syncs and the idle record."""
        if self._policy.mode == "interval":
            self._every(self._policy.interval_seconds, self._interval_sync)
        self._every(IDLE_TICK_SECONDS, self._idle)

    def schedule(self) -> None:
        """End the turn once everything that is ready has been handled."""
        if not self._scheduled and not self._stopped:
            self._scheduled = True
            self._loop.call_soon(self.end)

    def end(self) -> None:
        """Commit, sync if due, release."""
        self._scheduled = False
        if self._stopped:
            return
        try:
            if self._engine.staged:
                self._engine.commit()
        except StoreError as error:
            self._poison(error)
            return
        self._sync_if_due()
        self._release_delayed()
        self._flush()
        self._after_commit()

    async def stop(self) -> None:
        """Commit and sync what is staged, release every reply that may leave, and end the periodic work."""
        self.end()
        while not self._stopped and (self._syncing is not None or self._engine.synced_lsn < self._engine.last_lsn):
            if self._syncing is None:
                self._start_sync()
            syncing = self._syncing
            if syncing is not None:
                await asyncio.wait([asyncio.wrap_future(syncing)])
                await asyncio.sleep(0)  # let the completion that the thread has posted run
        self._gate.write_delay_seconds = 0.0
        self._gate.release_delayed(self._gate.delayed)
        self._flush()
        self._stopped = True
        for timer in self._timers:
            timer.cancel()
        self._thread.shutdown(wait=True)

    def _flush(self) -> None:
        for sink in self._gate.take_dirty():
            transport = sink.transport
            data = sink.take()
            if transport is not None and not transport.is_closing():
                transport.write(data)
                if sink.closing:
                    transport.close()

    def _sync_if_due(self) -> None:
        unsynced = self._engine.last_lsn - self._engine.synced_lsn
        if self._gate.wants_sync or (self._policy.mode == "ops" and unsynced >= self._policy.ops):
            self._start_sync()

    def _interval_sync(self) -> None:
        if self._engine.written_lsn > self._engine.synced_lsn:
            self._start_sync()

    def _start_sync(self) -> None:
        if self._syncing is not None:
            self._sync_wanted = True
            return
        ticket = self._engine.sync_begin()
        if ticket is None:
            self._gate.synced(self._engine.synced_lsn)
            return

        def done(future: Future[None]) -> None:
            self._loop.call_soon_threadsafe(self._sync_done, ticket, future)

        self._sync_wanted = False
        self._syncing = self._thread.submit(ticket.run)
        self._syncing.add_done_callback(done)

    def _sync_done(self, ticket: SyncTicket, future: Future[None]) -> None:
        self._syncing = None
        if self._stopped:
            return
        error = future.exception()
        try:
            if error is not None and not isinstance(error, OSError):
                raise error
            self._engine.sync_end(ticket, error)
        except StoreError as failure:
            self._poison(failure)
            return
        self._gate.synced(self._engine.synced_lsn)
        self._flush()
        if self._sync_wanted or self._gate.wants_sync:
            self._start_sync()

    def _release_delayed(self) -> None:
        count = self._gate.delayed - self._delays_running
        if count:
            self._delays_running += count
            self._loop.call_later(self._gate.write_delay_seconds, self._let_go, count)

    def _let_go(self, count: int) -> None:
        self._delays_running -= count
        self._gate.release_delayed(count)
        self.schedule()

    def _idle(self) -> None:
        """Cover the last group: once writes have paused and are synced, an empty record says so in the log."""
        engine = self._engine
        last = engine.last_lsn
        paused = last == self._idle_lsn
        self._idle_lsn = last
        if not paused or last == self._covered_lsn or engine.staged:
            return
        if engine.synced_lsn < last:
            if self._policy.mode != "os":
                self._start_sync()
            return
        try:
            engine.append_empty()
            engine.commit()
        except StoreError as error:
            self._poison(error)
            return
        self._covered_lsn = last

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        position = len(self._timers)

        def tick() -> None:
            if not self._stopped:
                action()
                self._timers[position] = self._loop.call_later(seconds, tick)

        self._timers.append(self._loop.call_later(seconds, tick))

    def _poison(self, error: StoreError) -> None:
        log.critical("the log failed: nothing more is answered error=%s", error)
        self._stopped = True
        self._gate.drop()
        self._on_poison(error)
