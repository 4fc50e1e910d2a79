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

Flushes and compactions are done by the writes that make them due, or by a janitor process if it is asked for: with
one, single puts are about 1.5 times as fast where memtables fill, and batches more than twice. A shard's process goes
on tidying up when nobody writes; a ``Store`` has nobody to do that, so once writes end, dead entries keep their room
until ``compact``.
"""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from sherd.common.clock import Clock, SystemClock
from sherd.common.codec import Encoder, Key
from sherd.common.disk import Disk, RealDisk
from sherd.common.errors import Overloaded, SherdError, StoreError
from sherd.common.limits import PAGE_BYTES_DEFAULT, Limits
from sherd.common.types import At
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.options import DEFAULTS, EngineOptions
from sherd.shard.lsm.scan import ColumnPage, PageRequest
from sherd.shard.lsm.store_codec import StoreCodec, whole
from sherd.shard.lsm.store_core import StoreCore
from sherd.shard.lsm.store_pages import RowReader, StoreSnapshot
from sherd.shard.lsm.store_work import InlineWork, JanitorWork
from sherd.shard.lsm.verify import VerifyReport, verify_open

_UNFLUSHED_SEGMENTS_MAX = 4  # found at opening, before they are flushed; below, opening stays instant


class Store(StoreCore):
    """Made by ``Store.open``.

    Keys are ``str`` or bytes, 1 byte to 4 KiB, and come back as ``bytes``, or decoded by ``key_encoding``. Values are
    anything MessagePack takes but None, up to 8 MiB encoded. Calls raise BadRequest, TooLarge or TypeError for
    arguments that cannot be stored, Conflict where ``if_version`` does not hold, Corruption for a damaged block,
    StoreFull when the disk has no room for a write (reads go on), StorePoisoned after a failed write or fsync,
    StoreClosed after ``close``.
    """

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
        stale_ms: int | None = None,
        at: At | None = None,
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

    def count(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
    ) -> int:
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

    def _drive(self, done: Any) -> None:
        self._look_at = 0.0
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
