"""``Store``: one shard's engine in this process, without a server, with the face of the clients.

    with Store.open("data") as db:
        db.put("user:1", {"name": "Ada"}, ttl=3600)
        for key, value in db.scan(prefix="user:"): ...

A directory is open in one process at a time. Threads share a ``Store`` safely: one lock, held for one call or one page
of a scan. A fork's child must open its own (the parent keeps this one).

What a power cut may lose follows ``fsync`` (a killed process loses nothing that returned): ``always`` nothing, each
write returns after its fsync; ``ops:N`` at most the last N operations; ``interval:T`` at most the last T plus one fsync
(the first write after T syncs, and a timer if none comes); ``os`` what the kernel had not written back. It is always a
suffix that is lost.

Flushes and compactions are done by the writes that make them due. A shard's process goes on tidying up when nobody
writes; a ``Store`` has nobody to do that, so once writes end, dead entries keep their room until ``compact``.
"""

import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

from sherd.common.clock import Clock, SystemClock
from sherd.common.codec import Encoder, Key
from sherd.common.disk import Disk, RealDisk
from sherd.common.errors import Overloaded, SherdError, StoreClosed, StoreError
from sherd.common.limits import PAGE_BYTES_DEFAULT, Limits
from sherd.common.types import Versioned
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.options import DEFAULTS, EngineOptions
from sherd.shard.lsm.scan import ColumnPage, PageRequest
from sherd.shard.lsm.store_codec import BatchOp, StoreCodec, check_version, expiry_ms, whole
from sherd.shard.lsm.store_pages import RowReader, StoreSnapshot
from sherd.shard.lsm.store_timer import SyncTimer
from sherd.shard.lsm.store_work import InlineWork, JanitorWork
from sherd.shard.lsm.verify import VerifyReport, verify_open

_UNFLUSHED_SEGMENTS_MAX = 4  # found at opening, before they are flushed; below, opening stays instant


class Store:
    """Made by ``Store.open``.

    Keys are ``str`` or bytes, 1 byte to 4 KiB, and come back as ``bytes``, or decoded by ``key_encoding``. Values are
    anything MessagePack takes but None, up to 8 MiB encoded. Calls raise BadRequest, TooLarge or TypeError for
    arguments that cannot be stored, Conflict where ``if_version`` does not hold, Corruption for a damaged block,
    StoreFull when the disk has no room for a write (reads go on), StorePoisoned after a failed write or fsync,
    StoreClosed after ``close``.
    """

    def __init__(
        self, engine: Engine, work: InlineWork | JanitorWork, codec: StoreCodec, clock: Clock, read_only: bool
    ) -> None:
        self._engine = engine
        self._work = work
        self._codec = codec
        self._clock = clock
        self._policy = engine.options.fsync_policy
        self._read_only = read_only
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._segment = engine.segment
        self._synced_at = clock.monotonic()
        self._timer: SyncTimer | None = None
        if self._policy.mode == "interval" and isinstance(clock, SystemClock) and not read_only:
            self._timer = SyncTimer(self._policy.interval_seconds, partial(_timed_sync, weakref.ref(self)))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        fsync: str = DEFAULTS.fsync,
        memtable_bytes: int = DEFAULTS.memtable_bytes,
        cache_bytes: int = DEFAULTS.cache_bytes,
        compression: str = DEFAULTS.compression,
        key_encoding: str | None = None,
        encoder: Encoder | None = None,
        janitor: bool = False,
        create: bool = True,
        read_only: bool = False,
        term: int | None = None,
        options: EngineOptions | None = None,
        limits: Limits | None = None,
        disk: Disk | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Open the directory ``path``, made if ``create``, and recover what an earlier process left.

        ``fsync``, ``memtable_bytes``, ``cache_bytes``, ``compression``: see ``EngineOptions``; ``options`` replaces all
        four. ``encoder``: a form for values other than MessagePack. ``janitor``: do flushes and compactions in a child
        process rather than in the write that makes them due. ``read_only``: change nothing. ``term``: what to begin a
        cluster's shard with, for who holds that cluster's lock; a store of its own counts its terms itself.

        Raises ConfigError, StoreLocked (open elsewhere), StoreFormat (not a store, or of another version),
        StoreReadOnly (no permission), StoreFull, StoreCorrupt (refused: the message names file and offset), and
        StoreError for a cluster's shard, which may be opened ``read_only`` while it is stopped.
        """
        directory = os.fspath(path)
        disk = RealDisk() if disk is None else disk
        clock = SystemClock() if clock is None else clock
        if not read_only and term is None:
            _check_not_of_a_cluster(disk, directory)
        if options is None:
            options = EngineOptions(
                memtable_bytes=memtable_bytes, cache_bytes=cache_bytes, compression=compression, fsync=fsync
            )
        codec = StoreCodec(key_encoding, encoder, Limits() if limits is None else limits)
        engine = Engine.open(directory, options, disk, clock, term=term, read_only=read_only, create=create)
        work: InlineWork | JanitorWork
        if janitor:
            from sherd.shard.janitor_client import JanitorClient

            work = JanitorWork(engine, JanitorClient(directory, options))
        else:
            work = InlineWork(engine, disk)
        store = cls(engine, work, codec, clock, read_only)
        if not read_only and engine.unflushed_segments > _UNFLUSHED_SEGMENTS_MAX:
            work.advance()
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<sherd.Store {self._engine.directory}>"

    def close(self) -> None:
        """Make everything durable and let go of the directory. Later calls raise StoreClosed."""
        if self._pid != os.getpid():
            return
        if self._timer is not None:
            self._timer.stop()
        with self._lock:
            self._work.close()
            self._engine.close()

    # -- keys and values ---------------------------------------------------------------------------------------------

    def get(self, key: Key, default: Any = None, *, meta: bool = False) -> Any:
        """The key's value, or ``default`` if it has none. With ``meta`` a ``Versioned``."""
        data = self._codec.key(key)
        with self._lock:
            self._check_process()
            entry = self._engine.get(data)
        return default if entry is None else self._read(entry, meta)

    def put(
        self, key: Key, value: Any, *, ttl: float | None = None, if_version: int | None = None, sync: bool = False
    ) -> int:
        """Set the key's value and return its version.

        ``ttl``: seconds until it expires. ``if_version``: only if this is the present version (0: only if there is
        none), else Conflict. ``sync``: return when it is on stable storage, whatever the policy.
        """
        data, condition = self._codec.key(key), check_version(if_version)
        with self._lock:
            self._begin_write()
            encoded = self._codec.value(value)
            expiry = expiry_ms(ttl, self._engine.now_ms()) if ttl is not None else 0
            try:
                version = self._engine.put(data, encoded, expiry, condition)
            except Overloaded:
                self._wait_for_work()
                version = self._engine.put(data, encoded, expiry, condition)
            self._end_write(sync)
        return version

    def delete(self, key: Key, *, if_version: int | None = None, return_value: bool = False, sync: bool = False) -> Any:
        """Remove the key. True if it was there, False if not; with ``return_value`` the old value in place of True."""
        data, condition = self._codec.key(key), check_version(if_version)
        with self._lock:
            self._begin_write()
            try:
                old = self._engine.delete(data, condition)
            except Overloaded:
                self._wait_for_work()
                old = self._engine.delete(data, condition)
            self._end_write(sync)
        if old is None:
            return False
        return self._read(old, False) if return_value else True

    def mget(self, keys: Iterable[Key], *, meta: bool = False) -> list[Any]:
        """The values of several keys in the order asked, at one point in time; None for those that have none."""
        wanted = self._codec.keys(keys)
        with self._lock:
            self._check_process()
            entries = [self._engine.get(key) for key in wanted]
        return [None if entry is None else self._read(entry, meta) for entry in entries]

    def batch(self, ops: Iterable[BatchOp], *, sync: bool = False) -> list[int | bool]:
        """Several puts and deletes, which take effect together or not at all, also in a crash.

        An operation is ``("put", key, value[, {"ttl": seconds, "if_version": n}])`` or ``("delete", key[,
        {"if_version": n}])``; it sees those before it. The result has a version for each put and a bool for each
        delete.
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
        return answers

    def _read(self, entry: Entry, meta: bool) -> Any:
        value = self._codec.read_value(entry.value or b"")
        if not meta:
            return value
        left = (entry.expiry_ms - self._engine.now_ms()) / 1000 if entry.expiry_ms else None
        return Versioned(value, entry.lsn, None if left is None else max(left, 0.0))

    # -- ranges ------------------------------------------------------------------------------------------------------

    def scan(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
        keys_only: bool = False,
        page_bytes: int = PAGE_BYTES_DEFAULT,
    ) -> Iterator[Any]:
        """Iterate over (key, value), or keys alone, in byte order from ``start`` up to but not including ``end``.

        ``prefix`` cuts the range down further; ``reverse`` turns the order, not the bounds; ``limit`` ends it after so
        many. Pages of about ``page_bytes`` are read as the iteration comes to them, each at one point in time; for a
        whole scan at one, use ``snapshot``.
        """
        low, high = self._codec.bounds(start, end, prefix)
        limit = None if limit is None else whole("limit", limit, 1)
        reader = RowReader(self._codec, self._page)
        return reader.rows(low, high, reverse, limit, keys_only, page_bytes)

    def _page(self, request: PageRequest) -> ColumnPage:
        with self._lock:
            self._check_process()
            return self._engine.scan_columns(request)

    def count(self, start: Key | None = None, end: Key | None = None, *, prefix: Key | None = None) -> int:
        """The number of live keys in a range, given as for ``scan``."""
        low, high = self._codec.bounds(start, end, prefix)
        with self._lock:
            self._check_process()
            count, _ = self._engine.count_page(low, high)
        return count

    def snapshot(self) -> StoreSnapshot:
        """The store as it is now, to be read until it is closed, whatever is written meanwhile."""
        with self._lock:
            self._begin_write()
            try:
                inner = self._engine.snapshot()
            except Overloaded:
                self._wait_for_work()
                inner = self._engine.snapshot()
            return StoreSnapshot(inner, self._codec, self._lock)

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def ping(self) -> str:
        """``"pong"`` from a store that is open."""
        with self._lock:
            self._check_process()
            self._engine.check()
        return "pong"

    def sync(self) -> None:
        """Make everything written so far durable before returning."""
        with self._lock:
            self._check_process()
            self._sync()

    def flush(self) -> dict[str, Any]:
        """Write the memtable to a table, and return the status when that is done. Raises what stopped it."""
        with self._lock:
            self._begin_write()
            token = self._engine.request_flush()
            self._drive(lambda: self._engine.flush_done(token))
            return self.status()

    def compact(self) -> dict[str, Any]:
        """Compact all there is into the bottom level; returns the status when done. Raises what stopped it."""
        with self._lock:
            self._begin_write()
            token = self._engine.request_compact()
            self._drive(lambda: self._engine.compact_done(token))
            return self.status()

    def status(self) -> dict[str, Any]:
        """What ``sherd status`` shows of a shard, and ``fsync``."""
        with self._lock:
            self._check_process()
            self._engine.check()
            return {**self._engine.status(), "fsync": self._engine.options.fsync, "read_only": self._read_only}

    def verify(self) -> VerifyReport:
        """Check every checksum of the tables in use. Damage is in the report, not raised."""
        with self._lock:
            self._check_process()
            self._engine.check()
            return verify_open(self._engine)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise StoreClosed("this store belongs to the process that opened it; a fork's child opens its own")

    def _begin_write(self) -> None:
        self._check_process()
        if isinstance(self._work, JanitorWork):
            self._work.advance()

    def _end_write(self, sync: bool) -> None:
        """Put the write into the log, fsync as the policy says, and do the background work it made due."""
        engine = self._engine
        engine.commit()
        policy = self._policy
        if (
            sync
            or policy.mode == "always"
            or (policy.mode == "ops" and engine.last_lsn - engine.synced_lsn >= policy.ops)
            or (policy.mode == "interval" and self._clock.monotonic() - self._synced_at >= policy.interval_seconds)
        ):
            self._sync()
        elif self._timer is not None:
            self._timer.start()
        if engine.segment != self._segment:
            self._segment = engine.segment
            self._work.advance()

    def _sync(self) -> None:
        self._engine.sync()
        self._synced_at = self._clock.monotonic()

    def _wait_for_work(self) -> None:
        """As much memory waits for its flush as may: get one done. Raises what prevents it."""
        waiting = self._engine.frozen_memtables
        while self._engine.frozen_memtables >= waiting:
            self._work.advance(wait=True)
            if self._work.last_error is not None:
                raise self._work.last_error

    def _drive(self, done: Any) -> None:
        while not done():
            self._work.advance(wait=True)
            error = self._work.last_error
            if error is not None and not done():
                raise error
            if isinstance(self._work, InlineWork) and not done():
                raise SherdError("background work is paused after a failure; see status()")


def _check_not_of_a_cluster(disk: Disk, directory: str) -> None:
    """A cluster's shard takes writes from nobody else: its topology says which keys it has, and which term it is in."""
    cluster, name = os.path.split(os.path.abspath(directory))
    if name.startswith("shard-") and disk.exists(f"{cluster}/topology.json"):
        raise StoreError(
            f"{directory} is a shard of the cluster in {cluster}: start that with `sherd up` and write through a "
            "client, or open the shard to be read only"
        )


def _timed_sync(reference: "weakref.ref[Store]") -> bool:
    """Sync a store that has something unsynced; False once it is gone."""
    store = reference()
    if store is None:
        return False
    with store._lock:
        if store._engine.synced_lsn < store._engine.written_lsn:
            store._sync()
    return True
