"""Following: the part of the engine that takes the records of another's log as they are, until it is told to lead.

A record comes with its LSNs, its term and its time; the operations go into the memtable, and the body, framed anew,
into this log. So a follower's log is its leader's, cut into segments of its own.
"""

import cython

from sherd.common.errors import Corruption, Overloaded, StoreError, StorePoisoned
from sherd.shard.lsm.format import TERM_LSN_STEP
from sherd.shard.lsm.record import frame_body
from sherd.shard.lsm.replay import replay_body
from sherd.shard.lsm.wal import EMPTY_RECORD_BYTES

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.engine_core import EngineCore
    from cython.cimports.sherd.shard.lsm.format import RECORD_JUMP, RECORD_TERM
    from cython.cimports.sherd.shard.lsm.segment_scan import RecordHeader
else:
    from sherd.shard.lsm.engine_core import EngineCore
    from sherd.shard.lsm.format import RECORD_JUMP, RECORD_TERM
    from sherd.shard.lsm.segment_scan import RecordHeader


@cython.cclass
class EngineFollowing(EngineCore):
    """``following`` says whether it does; while it does, it takes no writes of its own."""

    @cython.ccall
    def apply(self, header: RecordHeader, body: bytes) -> None:
        """Follow: take a verified record of the leader's log as it is; ``commit`` writes it to this one.

        ValueError unless it goes on where this log ends, StoreFull or Overloaded as ``put``: then nothing of it was
        taken. StorePoisoned if the body is malformed. A record without operations or LSN of its own is passed over.
        """
        if self._down is not None:
            raise self._refusal()
        if not self.following or self.wal is None:
            raise ValueError(f"{self.directory} does not follow")
        begins_term: cython.bint = header.flags & RECORD_TERM != 0
        jumps: cython.bint = begins_term or header.flags & RECORD_JUMP != 0
        goes_on: cython.bint = header.first_lsn == self.last_lsn + 1
        if begins_term:
            goes_on = header.first_lsn - TERM_LSN_STEP == self.last_lsn  # else this log has what its leader's has not
        elif jumps and header.first_lsn > self.last_lsn:
            goes_on = header.synced <= self.last_lsn  # else it says that there was something in the gap
        if not goes_on:
            raise ValueError(f"a record at LSN {header.first_lsn} does not go on from LSN {self.last_lsn}")
        if header.last_lsn < header.first_lsn:
            return
        if jumps and self.synced_lsn < self.last_lsn:
            # Its header has to say in this log too what was the last before it, and that is said by what was synced.
            if self.wal.syncing:
                raise Overloaded("a sync is under way; retry with backoff")
            self.sync()
        needed: cython.Py_ssize_t = header.record_bytes
        if self._shipped_bytes + needed > self.wal.room or self._active.memory_bytes >= self._memtable_bytes_max:
            self.roll(needed)
        flags = header.flags & (RECORD_TERM | RECORD_JUMP)
        record: bytes = frame_body(
            body, flags, header.first_lsn, header.last_lsn, self.synced_lsn, self._salt, header.body_checksum
        )
        try:
            term, time_ms = replay_body(body, self._active)
        except Corruption as error:
            raise self._poison(error, "applying a record of the leader") from error
        if begins_term:
            self.term = term
            self.installer.terms.append((term, header.first_lsn))
        self.time.logged(time_ms)
        self._shipped.append(record)
        self._shipped_bytes += len(record)
        self.last_lsn = header.last_lsn
        self.staged = True

    def lead(self, term: int) -> None:
        """Follow no longer: make all that was taken durable, and begin ``term``, which must be above all seen.

        StoreFull if there is no room for its record, with nothing changed; ValueError while a sync is under way. A job
        may be halfway into its place.
        """
        if not self.following or self.wal is None:
            raise ValueError(f"{self.directory} does not follow")
        if term <= self.term:
            raise StoreError(f"{self.directory} has seen term {self.term}; it cannot lead term {term}")
        self.sync()
        if self.wal.room < EMPTY_RECORD_BYTES:
            self.roll(EMPTY_RECORD_BYTES)
            self.sync()
        lsn = self.last_lsn + TERM_LSN_STEP
        time_ms = self.time.now_ms()
        try:
            self.wal.begin_term(term, lsn, time_ms)
            self.installer.terms.append((term, lsn))
            self.installer.write(terms=self.installer.terms_until(lsn), partial=False)
        except (OSError, StoreError) as error:
            raise self._poison(error, "beginning a term") from error
        self.time.logged(time_ms)
        self.term = term
        self.following = False
        self.last_lsn = self.written_lsn = self.synced_lsn = lsn
        self._builder.reset(lsn + 1)
        self._take_segment()

    def make_whole(self) -> None:
        """Note that this store has had all of its leader's log. StoreFull if there is no room to; StorePoisoned."""
        if self._down is not None:
            raise self._refusal()
        try:
            self.installer.write(partial=False)
        except StorePoisoned as error:
            raise self._poison(error, "noting that the store is whole") from error

    def follow(self) -> None:
        """Lead no longer: take another's records again, which go on from here. ValueError while anything is staged."""
        if self._down is not None:
            raise self._refusal()
        if self.following or self.staged or self.wal is None:
            raise ValueError(f"{self.directory} can't follow now")
        self.following = True
        self._take_segment()
