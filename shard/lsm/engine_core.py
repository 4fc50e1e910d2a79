"""Points and the log: the part of the engine that every request goes through.

A write is staged and applied to the memtable at once; ``commit`` then puts all that was staged into the log with one
write. Until then, and until it is synced, nothing of it may be acknowledged: ``seen_lsn`` tells after every read what
its answer rests on. ``Engine`` (engine.py) adds ranges, background work, opening and closing.

After a failed write or fsync nothing is answered any more (StorePoisoned): what the disk holds is known only to the
next recovery.
"""

import logging
from collections.abc import Callable

import cython
from xxhash import xxh3_64_intdigest

from sherd.common.clock import Clock
from sherd.common.disk import Disk
from sherd.common.errors import (
    Conflict,
    Corruption,
    Overloaded,
    StoreClosed,
    StoreError,
    StoreFull,
    StorePoisoned,
    StoreReadOnly,
)
from sherd.shard.lsm.batch import OP_OVERHEAD_BYTES, plan_batch
from sherd.shard.lsm.frozen import FrozenMemtable
from sherd.shard.lsm.installer import NO_ROOM
from sherd.shard.lsm.log_tail import LogTail
from sherd.shard.lsm.opening import Opened
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.status import Counters
from sherd.shard.lsm.upkeep import Upkeep
from sherd.shard.lsm.wal import SyncTicket

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.entry import Entry, make_entry
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE, KIND_PUT, STAGE_OVERHEAD_BYTES
    from cython.cimports.sherd.shard.lsm.memtable import Memtable
    from cython.cimports.sherd.shard.lsm.record import RecordBuilder
    from cython.cimports.sherd.shard.lsm.shard_time import ShardTime
else:
    from sherd.shard.lsm.entry import Entry, make_entry
    from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT, STAGE_OVERHEAD_BYTES
    from sherd.shard.lsm.memtable import Memtable
    from sherd.shard.lsm.record import RecordBuilder
    from sherd.shard.lsm.shard_time import ShardTime

log = logging.getLogger("lsm")


@cython.cclass
class EngineCore:
    """``last_lsn`` is the last LSN given out, ``written_lsn`` the last in the log, ``synced_lsn`` the last on stable
    storage, ``flushed_lsn`` the last that tables hold. ``seen_lsn`` is set by every find, get, conditional write and
    delete: the LSN of the entry it saw if that may not be durable yet, else 0. ``segment`` is the number of the log
    segment being written, 0 if read only; when it changes, jobs are due. Keys and values are bytes; limits on them are
    the caller's business.
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
        self.following = opened.following
        self.opened_clean = opened.clean
        self.last_lsn = self.written_lsn = self.synced_lsn = opened.last_lsn
        self.seen_lsn = 0
        self.staged = False
        self.tail: LogTail | None = None
        self.counters = Counters(cut_bytes=opened.recovered.cut_bytes)
        self._lock = opened.lock
        self._down: StoreError | None = None
        self._active = Memtable()
        self._builder = RecordBuilder(self.last_lsn + 1)
        self._shipped: list[bytes] = []
        self._shipped_bytes = 0
        self._room = 0
        self._salt = 0
        self.segment = 0
        self._take_segment()
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
            kept=opened.recovered.kept,
        )
        self._refresh()

    def check(self) -> None:
        """Raises StorePoisoned or StoreClosed if that is the state."""
        if self._down is not None:
            raise self._refusal()

    # -- points ------------------------------------------------------------------------------------------------------

    @cython.ccall
    def find(self, key: bytes) -> Entry | None:
        """What the store holds for ``key``, tombstones and expired entries too; None if it never heard of it.

        Raises Corruption for a block or table that is damaged or cannot be read, Unavailable if the process lacks what
        it takes to open it.
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
        found: Entry | None
        try:
            found = self._version.find(key, xxh3_64_intdigest(key))
        except Corruption as error:
            self.installer.damage.met(error)
            raise
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
            if self.following:
                raise StoreReadOnly(f"{self.directory} follows another's log and takes no writes of its own")
            self.roll(needed)

    def roll(self, needed: int = 0) -> None:
        """Freeze the active memtable with its segment, and go on in the next one with room for ``needed`` bytes.

        Commits what is staged. Overloaded if as much memory waits as may, StoreFull if the disk has no room for a
        segment; then nothing has changed.
        """
        if self._down is not None:
            raise self._refusal()
        if self.wal is None:
            raise StoreReadOnly(f"{self.directory} was opened to be read only")
        if not self.upkeep.may_freeze(self._active.memory_bytes, needed):
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
        self._take_segment()
        self._refresh()

    @cython.cfunc
    def _take_segment(self) -> None:
        """Go on in the log's active segment. A follower has no room in it for writes of its own."""
        if self.wal is not None:
            self._room = -1 if self.following else self.wal.room
            self._salt = self.wal.salt
            self.segment = self.wal.number

    @cython.ccall
    def commit(self) -> None:
        """Write everything staged to the log, with one write. A failure is final: StorePoisoned, now and ever after."""
        if self._down is not None:
            raise self._refusal()
        if not self.staged or self.wal is None:
            return
        time_ms = self.time.now_ms()
        try:
            if self.following:
                sealed: bytes = b"".join(self._shipped)
            else:
                sealed = self._builder.seal(self.term, self.synced_lsn, time_ms, self._salt)
            self.wal.append(sealed, self.last_lsn)
        except (OSError, ValueError, StoreError) as error:
            raise self._poison(error, "writing the log") from error
        if self.following:
            self._shipped.clear()
            self._shipped_bytes = 0
        else:
            self.time.logged(time_ms)
            self._room -= len(sealed)
            if self.tail is not None:
                self.tail.add(self.written_lsn + 1, self.last_lsn, self._salt, sealed)
        self.written_lsn = self.last_lsn
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
        """Commit, and make everything durable before returning. A failure poisons; ValueError while a ticket is out."""
        self.commit()
        if self.wal is not None and self.wal.syncing:
            raise ValueError("a sync is under way on another thread; wait for it")
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

    # -- state -------------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Take over what rolling or installing changed."""
        self._version = self.installer.version
        self.flushed_lsn = self.installer.manifest.flushed_lsn
        self._frozen = tuple(frozen.memtable for frozen in reversed(self.upkeep.waiting))

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
