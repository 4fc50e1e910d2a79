"""The engine: one shard's LSM tree. Synchronous, used by one thread at a time, knows no network.

Writes are staged and applied to the memtable at once; ``commit`` then puts all that was staged into the log with one
write. Until then, and until it is synced, nothing of it may be acknowledged: ``seen_lsn`` tells after every read what
its answer rests on. Background work is handed out as jobs (upkeep.py) and put in place when done; the engine itself
never waits for a disk but in ``commit``, in what opens and closes it, and when no segment was prepared in time.

After a failed write or fsync of the log the engine answers nothing more (StorePoisoned): what the disk holds is known
only to the next recovery.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Self

import cython
from xxhash import xxh3_64_intdigest

from sherd.common.clock import Clock
from sherd.common.disk import Disk
from sherd.common.errors import Conflict, Overloaded, StoreClosed, StoreError, StoreFull, StorePoisoned, StoreReadOnly
from sherd.shard.lsm.batch import OP_OVERHEAD_BYTES, plan_batch
from sherd.shard.lsm.frozen import FrozenMemtable
from sherd.shard.lsm.installer import NO_ROOM
from sherd.shard.lsm.opening import Opened, open_directory
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.pressure import FROZEN_MEMTABLES_MAX, Pressure
from sherd.shard.lsm.scan import Page, PageRequest, count_page, scan_page
from sherd.shard.lsm.shard_time import ShardTime
from sherd.shard.lsm.snapshot import Snapshot, sources_cursor
from sherd.shard.lsm.status import Counters, status
from sherd.shard.lsm.steps import Steps, refreshed, run_steps
from sherd.shard.lsm.upkeep import Upkeep
from sherd.shard.lsm.wal import SyncTicket

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.entry import Entry, make_entry
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE, KIND_PUT, STAGE_OVERHEAD_BYTES
    from cython.cimports.sherd.shard.lsm.memtable import Memtable
    from cython.cimports.sherd.shard.lsm.record import RecordBuilder
else:
    from sherd.shard.lsm.entry import Entry, make_entry
    from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT, STAGE_OVERHEAD_BYTES
    from sherd.shard.lsm.memtable import Memtable
    from sherd.shard.lsm.record import RecordBuilder

log = logging.getLogger("lsm")

SNAPSHOT_COPY_KEYS = 10_000  # up to here a snapshot copies the active memtable; above, it freezes it


@cython.cclass
class Engine:
    """Open with ``Engine.open``; the initializer takes what that has prepared.

    ``last_lsn`` is the last LSN given out, ``written_lsn`` the last in the log, ``synced_lsn`` the last on stable
    storage. ``seen_lsn`` is set by every find, get, conditional write and delete: the LSN of the entry it saw if that
    may not be durable yet, else 0. Keys and values are bytes; limits on them are the caller's business.
    """

    def __init__(
        self,
        directory: str,
        options: EngineOptions,
        disk: Disk,
        clock: Clock,
        random: Callable[[int], bytes],
        time: ShardTime,
        opened: Opened,
    ) -> None:
        self.directory = directory
        self.options = options
        self.disk = disk
        self.time = time
        self.installer = opened.installer
        self.wal = opened.wal
        self.term = opened.term
        self.last_lsn = self.written_lsn = self.synced_lsn = opened.last_lsn
        self.seen_lsn = 0
        self.staged = False
        self.counters = Counters(cut_bytes=opened.recovered.cut_bytes)
        self._lock = opened.lock
        self._down: StoreError | None = None
        self._active = Memtable()
        self._builder = RecordBuilder(self.last_lsn + 1)
        self._room = self.wal.room if self.wal is not None else 0
        self._salt = self.wal.salt if self.wal is not None else 0
        self._memtable_bytes_max = options.memtable_bytes
        self.upkeep = Upkeep(
            options,
            self.wal,
            self.installer,
            opened.recovered.groups,
            time,
            self.counters,
            clock=clock,
            disk=disk,
            directory=directory,
            random=random,
        )
        self._refresh()

    @classmethod
    def open(
        cls,
        directory: str,
        options: EngineOptions,
        disk: Disk,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = os.urandom,
        term: int | None = None,
        read_only: bool = False,
        create: bool = True,
    ) -> Self:
        """Recover ``directory`` and start a new term in it.

        ``term`` None takes the next of its own; a given one must be above all that the directory has seen. With
        ``read_only`` nothing is changed and writes raise StoreReadOnly. Raises StoreLocked, StoreFormat, StoreReadOnly,
        StoreFull, StoreCorrupt (refused; names file and offset), else StoreError.
        """
        time = ShardTime(clock)
        opened = open_directory(directory, options, disk, time, random, term=term, read_only=read_only, create=create)
        return cls(directory, options, disk, clock, random, time, opened)

    def check(self) -> None:
        """Raises StorePoisoned or StoreClosed if that is the state."""
        if self._down is not None:
            raise self._refusal()

    # -- points ------------------------------------------------------------------------------------------------------

    @cython.ccall
    def find(self, key: bytes) -> Entry | None:
        """What the store holds for ``key``, tombstones and expired entries too; None if it never heard of it.

        Raises Corruption for a damaged block or table.
        """
        if self._down is not None:
            raise self._refusal()
        entry: Entry | None = self._active.entries.get(key)
        if entry is not None:
            self.seen_lsn = entry.lsn
            return entry
        memtable: Memtable
        for memtable in self._frozen:
            entry = memtable.entries.get(key)
            if entry is not None:
                self.seen_lsn = entry.lsn
                return entry
        self.seen_lsn = 0
        found: Entry | None = self._version.find(key, xxh3_64_intdigest(key))
        return found

    @cython.ccall
    def get(self, key: bytes) -> Entry | None:
        """The entry of ``key`` if it is live, else None: tombstones and expired entries count as absent."""
        entry: Entry | None = self.find(key)
        if entry is None or entry.kind == KIND_DELETE:
            return None
        if entry.expiry_ms != 0 and entry.expiry_ms <= self.time.now_ms():
            return None
        return entry

    @cython.ccall
    @cython.exceptval(0, check=False)
    def put(
        self, key: bytes, value: bytes, expiry_ms: cython.ulonglong = 0, if_version: object = -1
    ) -> cython.ulonglong:
        """Stage a put and return its LSN, the key's new version. ``expiry_ms`` is a time since the epoch, 0 = never.

        With ``if_version`` (0: only if absent) Conflict unless that is the key's version. StoreFull if there is no room
        for more log, Overloaded if too much memory waits for its flush: then nothing is staged.
        """
        if if_version != -1:
            self._check_version(self.get(key), if_version)
        self._make_room(len(key) + len(value) + STAGE_OVERHEAD_BYTES)
        self._stage(KIND_PUT, key, value, expiry_ms)
        return self.last_lsn

    @cython.ccall
    def delete(self, key: bytes, if_version: object = -1) -> Entry | None:
        """Stage a delete; returns the live entry it ends, or None. Raises as ``put`` does.

        A tombstone is staged (LSN ``last_lsn``) if there was an entry, expired ones included since shard time may be
        behind on the next leader; if the key holds nothing or a tombstone, nothing is staged, and the answer rests on
        ``seen_lsn``.
        """
        found: Entry | None = self.find(key)
        seen_lsn: cython.ulonglong = self.seen_lsn
        live: Entry | None = found if found is not None and found.is_live(self.time.now_ms()) else None
        if if_version != -1:
            self._check_version(live, if_version)
        if found is not None and found.kind != KIND_DELETE:
            self._make_room(len(key) + STAGE_OVERHEAD_BYTES)
            self._stage(KIND_DELETE, key, None, 0)
        self.seen_lsn = seen_lsn
        return live

    @cython.ccall
    def batch(self, ops: list) -> list:  # type: ignore[type-arg]
        """Stage all of ``ops`` or none: (kind, key, value or None, expiry_ms, if_version or -1) each.

        Returns a version for each put and, for each delete, whether the key existed. Conditions see the operations
        before them. Conflict's details carry ``version`` and the ``index`` of the operation. Raises as ``put`` does.
        """
        needed: cython.Py_ssize_t = STAGE_OVERHEAD_BYTES
        op: tuple  # type: ignore[type-arg]
        for op in ops:
            needed += len(op[1]) + (len(op[2]) if op[2] is not None else 0) + OP_OVERHEAD_BYTES
        self._make_room(needed)
        results, kept = plan_batch(ops, self.find, self.last_lsn + 1, self.time.now_ms())
        self._builder.begin_group()
        try:
            for op in kept:
                self._stage(op[0], op[1], op[2], op[3])
        finally:
            self._builder.end_group()
        return results

    @cython.cfunc
    def _check_version(self, live: Entry | None, if_version: object) -> None:
        """Conflict unless the live entry (None: absent, version 0) has this version."""
        version = 0 if live is None else live.lsn
        if version != if_version:
            raise Conflict(f"the key is at version {version}, not {if_version}", {"version": version})

    @cython.cfunc
    def _stage(self, kind: cython.int, key: bytes, value: bytes | None, expiry_ms: cython.ulonglong) -> None:
        """Put one operation into the record being built and into the memtable; there is room."""
        lsn: cython.ulonglong
        if kind == KIND_DELETE:
            lsn = self._builder.append_delete(key)
        else:
            lsn = self._builder.append_put(key, b"" if value is None else value, expiry_ms)
        self._active.insert(key, make_entry(lsn, kind, expiry_ms, value))
        self.last_lsn = lsn
        self.staged = True

    # -- the log -----------------------------------------------------------------------------------------------------

    @cython.cfunc
    def _make_room(self, needed: cython.Py_ssize_t) -> None:
        """Have room for ``needed`` more bytes of log, rolling to the next segment if it must be."""
        if self._down is not None:
            raise self._refusal()
        if self._builder.bytes_staged + needed > self._room or self._active.memory_bytes >= self._memtable_bytes_max:
            self.roll(needed)

    def roll(self, needed: int = 0) -> None:
        """Freeze the active memtable with its segment, and go on in the next one with room for ``needed`` bytes.

        Commits what is staged. Overloaded if as many memtables wait as may, StoreFull if the disk has no room for a
        segment; then nothing has changed.
        """
        if self._down is not None:
            raise self._refusal()
        if self.wal is None:
            raise StoreReadOnly(f"{self.directory} was opened to be read only")
        if len(self.upkeep.waiting) >= FROZEN_MEMTABLES_MAX:
            if self.upkeep.disk_full:
                raise StoreFull(f"no room on the disk to flush {self.directory}")
            raise Overloaded("memory waits for its flush; retry with backoff")
        try:
            self.wal.prepare(needed)
        except OSError as error:
            raise self._poison(error, "preparing a log segment") from error
        self.commit()
        self.upkeep.add(FrozenMemtable(self._active, [self.wal.number], self.last_lsn, self.time.logged_ms))
        self._active = Memtable()
        self.wal.roll()
        self._room = self.wal.room
        self._salt = self.wal.salt
        self._refresh()

    @cython.ccall
    def commit(self) -> None:
        """Write everything staged to the log, with one write. A failure is final: StorePoisoned, now and ever after."""
        if self._down is not None:
            raise self._refusal()
        if not self.staged or self.wal is None:
            return
        time_ms = self.time.now_ms()
        try:
            sealed: bytes = self._builder.seal(self.term, self.synced_lsn, time_ms, self._salt)
            self.wal.append(sealed, self.last_lsn)
        except (OSError, ValueError, StoreError) as error:
            raise self._poison(error, "writing the log") from error
        self.time.logged(time_ms)
        self.written_lsn = self.last_lsn
        self._room -= len(sealed)
        self.staged = False

    def sync_begin(self) -> SyncTicket | None:
        """A ticket to make everything written durable: run it on any thread, then hand it to ``sync_end``.

        None if nothing is unsynced, or a ticket is under way (one at a time).
        """
        if self._down is not None:
            raise self._refusal()
        return self.wal.begin() if self.wal is not None else None

    def sync_end(self, ticket: SyncTicket, error: Exception | None = None) -> None:
        """``ticket.run()`` returned, or raised ``error``: then the engine is poisoned, and StorePoisoned raised."""
        if self._down is not None:
            raise self._refusal()
        if error is not None:
            raise self._poison(error, "fsync of the log") from error
        if self.wal is None:
            raise ValueError("a store opened to be read only has no tickets")
        self.wal.end(ticket)
        self.synced_lsn = self.wal.synced_lsn

    def sync(self) -> None:
        """Commit, and make everything durable before returning. A failure poisons."""
        self.commit()
        ticket = self.sync_begin()
        if ticket is None:
            return
        try:
            ticket.run()
        except OSError as error:
            raise self._poison(error, "fsync of the log") from error
        self.sync_end(ticket)

    def append_empty(self) -> bool:
        """If the last group is synced but no header says so yet, write a record that does; for an idle store.

        True if one was written: it counts for recovery once it is synced too, which changes no LSN.
        """
        self.commit()
        if self.wal is None:
            return False
        try:
            written: bool = self.wal.append_empty(self.term, self.time.now_ms())
        except (OSError, ValueError, StoreError) as error:
            raise self._poison(error, "writing the log") from error
        self._room = self.wal.room
        return written

    # -- ranges ------------------------------------------------------------------------------------------------------

    def scan_page(
        self,
        start: bytes | None,
        end: bytes | None,
        reverse: bool = False,
        limit: int = 1 << 40,
        bytes_max: int = 1 << 18,
        keys_only: bool = False,
        meta: bool = False,
        examine_max: int = 1 << 40,
    ) -> Page:
        """A page of the live entries from ``start`` on and before ``end``, at one point in time; see ``scan.Page``.

        At least one row if there is one within ``examine_max`` entries, tombstones included.
        """
        if self._down is not None:
            raise self._refusal()
        request = PageRequest(start, end, reverse, limit, bytes_max, keys_only, meta, examine_max)
        return scan_page(self.cursor(), request, self.time.now_ms())

    def count_page(
        self, start: bytes | None, end: bytes | None, examine_max: int = 1 << 40
    ) -> tuple[int, bytes | None]:
        """(live keys, where to go on or None): looks at up to ``examine_max`` entries, tombstones included."""
        if self._down is not None:
            raise self._refusal()
        return count_page(self.cursor(), start, end, examine_max, self.time.now_ms())

    def cursor(self) -> Any:
        """A cursor over everything, tombstones included; it holds until the next write or installed job."""
        return sources_cursor((self._active, *self._frozen), self._version)

    def snapshot(self) -> Snapshot:
        """The store as it is now, kept until the snapshot is closed. Raises as ``put`` does if it has to roll."""
        self.commit()
        memtables: tuple[Memtable, ...] = self._frozen
        if len(self._active) > SNAPSHOT_COPY_KEYS:
            self.roll()
            memtables = self._frozen
        elif len(self._active):
            memtables = (self._active.copy(), *memtables)
        return Snapshot(memtables, self.installer, self.time)

    # -- background work ---------------------------------------------------------------------------------------------

    @property
    def segment(self) -> int:
        """Number of the log segment being written, 0 if read only; when it changes, jobs are due."""
        return self.wal.number if self.wal is not None else 0

    @property
    def frozen_memtables(self) -> int:
        """How many memtables wait for their flush."""
        return len(self.upkeep.waiting)

    @property
    def unflushed_segments(self) -> int:
        """How many log segments a recovery would replay beside the one being written."""
        return sum(len(frozen.segments) for frozen in self.upkeep.waiting)

    def next_job(self, at_rest: bool = False) -> Any:
        """A job to run now (see ``jobs.run_job``), or None. ``at_rest``: also what only tidies up an idle store.

        At most one flush or preparation and one compaction are out at a time; give each back by ``install`` or
        ``job_failed``.
        """
        if self._down is not None or self.wal is None:
            return None
        if self.upkeep.wants_roll(self._active):
            try:
                self.roll()
            except StoreFull as error:
                log.warning("cannot roll the log: %s", error)
        job = self._guard(self.upkeep.next_job, at_rest, self._active)
        self._refresh()
        return job

    def install(self, job: Any, result: Any) -> None:
        """Put the files that ``job`` made in their place. StorePoisoned if that fails halfway."""
        run_steps(self.installing(job, result))

    def installing(self, job: Any, result: Any) -> Steps[None]:
        """``install`` in steps, for a caller whose loop must not wait for the disk: one at a time, to the end."""
        if self._down is not None:
            raise self._refusal()
        try:
            yield from refreshed(self.upkeep.installing(job, result), self._refresh)
        except (OSError, StorePoisoned) as error:
            raise self._poison(error, "installing a job's files") from error
        self._refresh()

    def job_failed(self, job: Any, error: Exception) -> None:
        """``job`` was not done; its temporaries are removed, its inputs kept, and it is tried again a little later."""
        self.upkeep.failed(job, error)

    def _guard(self, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except (OSError, StorePoisoned) as error:
            raise self._poison(error, "installing a job's files") from error

    def _refresh(self) -> None:
        """Take over what rolling or installing changed."""
        self._version = self.installer.version
        self._frozen = tuple(frozen.memtable for frozen in reversed(self.upkeep.waiting))

    def request_flush(self) -> int:
        """Have everything written so far flushed to tables soon; returns a token for ``flush_done``."""
        self.commit()
        return int(self.upkeep.request_flush(self.last_lsn))

    def flush_done(self, token: int) -> bool:
        """Whether what ``request_flush`` was asked for is in tables."""
        return bool(self.upkeep.flush_done(token, self._active))

    def request_compact(self) -> int:
        """Have everything flushed and compacted into the bottom level; returns a token for ``compact_done``."""
        self.commit()
        return int(self.upkeep.request_compact(self.last_lsn))

    def compact_done(self, token: int) -> bool:
        """Whether the compaction that ``request_compact`` asked for is finished."""
        return bool(self.upkeep.compact_done(token))

    def pressure(self) -> Pressure:
        """How far background work is behind; cheap."""
        pressure: Pressure = self.upkeep.pressure(self._active.memory_bytes)
        return pressure

    # -- the rest ----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Shard time: milliseconds since the epoch, never running backwards."""
        return int(self.time.now_ms())

    @property
    def poisoned(self) -> bool:
        """Whether a write or fsync failed."""
        return isinstance(self._down, StorePoisoned)

    def status(self) -> dict[str, object]:
        """What operators want to know, MessagePack-able; the names are those of ``sherd status``."""
        return status(self, self._active)

    def _refusal(self) -> StoreError:
        """Why nothing is answered, as a fresh exception."""
        down: StoreError = self._down or StoreClosed(f"{self.directory} is closed")
        return type(down)(str(down))

    def _poison(self, error: Exception, doing: str) -> StorePoisoned:
        """Answer nothing from now on. Returns what to raise."""
        if isinstance(error, StorePoisoned):
            poisoned = error
        else:
            no_room = isinstance(error, OSError) and error.errno in NO_ROOM
            hint = "make room and reopen it" if no_room else "reopen it to recover what reached the disk"
            poisoned = StorePoisoned(f"{self.directory} failed while {doing}: {error}; {hint}")
        self._down = poisoned
        log.error("store poisoned: %s", poisoned)
        return poisoned

    def _note_clean_close(self) -> None:
        try:
            self.installer.write(clean_lsn=self.last_lsn)
        except StoreFull as error:  # the log says it too; the MANIFEST only makes a lost segment easier to notice
            log.warning("clean close not noted: %s", error)

    def close(self, clean: bool = True) -> None:
        """Commit, sync, note the clean close in the MANIFEST, and let go of everything. Harmless when repeated.

        With ``clean`` False, or when poisoned, nothing is written: the next start recovers. Errors are raised after
        the LOCK is released.
        """
        if isinstance(self._down, StoreClosed):
            return
        try:
            if clean and self._down is None and self.wal is not None:
                self.commit()
                self._guard(self.wal.finish, self.term, self.time.now_ms())
                self._note_clean_close()
        finally:
            self._down = StoreClosed(f"{self.directory} is closed")
            self._active, self._frozen = Memtable(), ()
            if self.wal is not None:
                self.wal.close()
            self.installer.close()
            if self._lock is not None:
                self._lock.release()
