"""The part of a ``Store`` that every call goes through: points, batches, and what ends a write.

Invariants: the lock is held for all that touches the engine; a write returns after its record is in the log, after the
fsync that the policy asks for, and after the background work it made due was done or handed out.
"""

import math
import os
import threading
import time
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import cython

from sherd.common.clock import Clock, SystemClock
from sherd.common.codec import Key
from sherd.common.errors import Overloaded, StoreClosed
from sherd.common.types import At, Versioned, Written
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.store_codec import BatchOp, check_version, expiry_ms
from sherd.shard.lsm.store_timer import SyncTimer
from sherd.shard.lsm.store_work import InlineWork, JanitorWork

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.entry import Entry
    from cython.cimports.sherd.shard.lsm.store_codec import StoreCodec
else:
    from sherd.shard.lsm.entry import Entry
    from sherd.shard.lsm.store_codec import StoreCodec

_ANY_VERSION = -1
_LOOK_SECONDS = cython.declare(cython.double, 0.005)


@cython.cclass
class StoreCore:
    """``Store`` adds opening, ranges and upkeep. Arguments that come from users are not typed for the compiler, which
    would take no int for a number of seconds.

    ``acks``, ``stale_ms`` and ``at`` are a client's, of a cluster with followers: here they hold of themselves.
    """

    def __init__(
        self, engine: Engine, work: InlineWork | JanitorWork, codec: StoreCodec, clock: Clock, read_only: bool
    ) -> None:
        policy = engine.options.fsync_policy
        self._engine = engine
        self._work = work
        self._has_janitor = isinstance(work, JanitorWork)
        self._codec = codec
        self._clock = clock
        self._read_only = read_only
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._segment = engine.segment
        self._look_at = math.inf  # a store that never fills a memtable needs no janitor
        self._sync_each = policy.mode == "always"
        self._sync_ops = policy.ops
        self._sync_seconds = policy.interval_seconds
        self._synced_at = clock.monotonic()
        self._timer: SyncTimer | None = None
        if policy.mode == "interval" and isinstance(clock, SystemClock) and not read_only:
            self._timer = SyncTimer(policy.interval_seconds, partial(_timed_sync, weakref.ref(self)))

    @cython.annotation_typing(False)
    def get(
        self, key: Key, default: Any = None, *, meta: bool = False, stale_ms: int | None = None, at: At | None = None
    ) -> Any:
        """The key's value, or ``default`` if it has none. With ``meta`` a ``Versioned``."""
        data = self._codec.key(key)
        with self._lock:
            self._check_process()
            entry = self._engine.get(data)
        return default if entry is None else self._read(entry, meta)

    @cython.annotation_typing(False)
    def put(
        self,
        key: Key,
        value: Any,
        *,
        ttl: float | None = None,
        if_version: int | None = None,
        sync: bool = False,
        acks: str | None = None,
        meta: bool = False,
    ) -> Any:
        """Set the key's value and return its version, or with ``meta`` a ``Written``.

        ``ttl``: seconds until it expires. ``if_version``: only if this is the present version (0: only if there is
        none), else Conflict. ``sync``: return when it is on stable storage, whatever the policy.
        """
        data = self._codec.key(key)
        condition = _ANY_VERSION if if_version is None else check_version(if_version)
        with self._lock:
            self._begin_write()
            encoded = self._codec.value(value)
            expiry = expiry_ms(ttl, self._engine.now_ms()) if ttl is not None else 0
            try:
                self._engine.put(data, encoded, expiry, condition)
            except Overloaded:
                self._wait_for_work()
                self._engine.put(data, encoded, expiry, condition)
            self._end_write(sync)
            version = self._engine.last_lsn
            return self._written(version) if meta else version

    @cython.annotation_typing(False)
    def delete(
        self,
        key: Key,
        *,
        if_version: int | None = None,
        return_value: bool = False,
        sync: bool = False,
        acks: str | None = None,
        meta: bool = False,
    ) -> Any:
        """Remove the key. True if it was there, False if not; with ``return_value`` the old value in place of True."""
        data = self._codec.key(key)
        condition = _ANY_VERSION if if_version is None else check_version(if_version)
        with self._lock:
            self._begin_write()
            try:
                old = self._engine.delete(data, condition)
            except Overloaded:
                self._wait_for_work()
                old = self._engine.delete(data, condition)
            self._end_write(sync)
            found = False if old is None else self._read(old, False) if return_value else True
            return self._written(found) if meta else found

    @cython.annotation_typing(False)
    def mget(
        self, keys: Iterable[Key], *, meta: bool = False, stale_ms: int | None = None, at: At | None = None
    ) -> list[Any]:
        """The values of several keys in the order asked, at one point in time; None for those that have none."""
        wanted = self._codec.keys(keys)
        with self._lock:
            self._check_process()
            entries = [self._engine.get(key) for key in wanted]
        return [None if entry is None else self._read(entry, meta) for entry in entries]

    @cython.annotation_typing(False)
    def batch(
        self, ops: Iterable[BatchOp], *, sync: bool = False, acks: str | None = None, meta: bool = False
    ) -> list[Any]:
        """Several puts and deletes, which take effect together or not at all, also in a crash.

        An operation is ``("put", key, value[, {"ttl": seconds, "if_version": n}])`` or ``("delete", key[,
        {"if_version": n}])``; it sees those before it. The result has a version for each put and a bool for each
        delete, with ``meta`` each as a ``Written``.
        """
        with self._lock:
            self._begin_write()
            encoded = self._codec.batch(ops, self._engine.now_ms())
            try:
                answers = self._engine.batch(encoded)
            except Overloaded:
                self._wait_for_work()
                answers = self._engine.batch(encoded)
            self._end_write(sync)
            return [self._written(answer) for answer in answers] if meta else answers

    # -- inside ------------------------------------------------------------------------------------------------------

    def _written(self, result: Any) -> Written:
        return Written(result, At(0, self._engine.term, self._engine.last_lsn))

    @cython.cfunc
    def _read(self, entry: Entry, meta: object) -> Any:
        value = self._codec.read_value(entry.value or b"")
        if not meta:
            return value
        left = (entry.expiry_ms - self._engine.now_ms()) / 1000 if entry.expiry_ms else None
        return Versioned(value, entry.lsn, None if left is None else max(left, 0.0))

    @cython.ccall
    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise StoreClosed("this store belongs to the process that opened it; a fork's child opens its own")

    @cython.ccall
    def _begin_write(self) -> None:
        """Before a write. With a janitor, see now and then what it has done; more often would cost each write more."""
        self._check_process()
        if self._has_janitor:
            now: cython.double = time.monotonic()
            if now >= self._look_at:
                self._look_at = now + _LOOK_SECONDS
                self._work.advance()

    @cython.cfunc
    def _end_write(self, sync: object) -> None:
        """Put the write into the log, fsync as the policy says, and do the background work it made due."""
        self._engine.commit()
        if sync or self._sync_each or self._sync_due():
            self._sync()
        elif self._timer is not None:
            self._timer.start()
        if self._engine.segment != self._segment:
            self._segment = self._engine.segment
            self._look_at = 0.0
            self._work.advance()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _sync_due(self) -> cython.bint:
        """Whether as much, or for as long, is unsynced as the policy allows."""
        if self._sync_ops != 0:
            return self._engine.last_lsn - self._engine.synced_lsn >= self._sync_ops
        return self._sync_seconds != 0 and self._clock.monotonic() - self._synced_at >= self._sync_seconds

    @cython.ccall
    def _sync(self) -> None:
        self._engine.sync()
        self._synced_at = self._clock.monotonic()

    @cython.ccall
    def _wait_for_work(self) -> None:
        """As much memory waits for its flush as may: get one done. Raises what prevents it."""
        waiting = self._engine.frozen_memtables
        while self._engine.frozen_memtables >= waiting:
            self._work.advance(wait=True)
            if self._work.last_error is not None:
                raise self._work.last_error


def _timed_sync(reference: "weakref.ref[Any]") -> bool:
    """Sync a store that has something unsynced; False once it is gone."""
    store = reference()
    if store is None:
        return False
    with store._lock:
        if store._engine.synced_lsn < store._engine.written_lsn:
            store._sync()
    return True
