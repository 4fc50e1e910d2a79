"""The log of one engine: the segment being written, those that wait for their fsync, and the one prepared for later.

Invariants: segments are written in the order of their numbers, each by one life of the process only; LSN ``n`` counts
as synced only when the segment that holds it and all segments before it were fsynced since (a ticket names them in
order); a segment is taken into use only after its name, header and room are durable. A failed write or fsync is final:
the caller poisons the engine, and a failed fsync leaves a mark in the directory, because the kernel may show the next
reader bytes that never reached the disk; recovery then writes them anew instead of trusting an fsync that succeeds.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

import cython

from sherd.common.disk import Disk
from sherd.common.errors import StoreFull
from sherd.shard.lsm.format import (
    RECORD_BODY_HEAD_BYTES,
    RECORD_CLOSE,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    TEMPORARY_SUFFIX,
    segment_name,
)
from sherd.shard.lsm.record import empty_record, term_record
from sherd.shard.lsm.segment import install_segment, prepare_segment
from sherd.shard.lsm.steps import Steps, run_steps

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.segment import SegmentWriter
else:
    from sherd.shard.lsm.segment import SegmentWriter

FSYNC_FAILED_NAME: Final = "FSYNC_FAILED"
"""Empty file: an fsync of the log failed in an earlier life, so what is read from it may not be on the disk."""

EMPTY_RECORD_BYTES: Final = (RECORD_HEADER_BYTES + RECORD_BODY_HEAD_BYTES + 15) & ~15
RESERVE_BYTES: Final = EMPTY_RECORD_BYTES
"""Room kept in every segment for the record of a clean close."""
SEGMENT_BYTES_MIN: Final = SEGMENT_HEADER_BYTES + 2 * EMPTY_RECORD_BYTES + RESERVE_BYTES


class SyncTicket:
    """What one fsync round makes durable: everything up to ``lsn``, which are ``bytes`` that were not durable before.

    ``run`` may be called on any thread, once.
    """

    __slots__ = ("_disk", "_mark_path", "bytes", "lsn", "positions", "segments")

    def __init__(self, disk: Disk, directory: str, segments: list[SegmentWriter], lsn: int, size: int) -> None:
        self._disk = disk
        self._mark_path = f"{directory}/{FSYNC_FAILED_NAME}"
        self.segments = segments
        self.positions = {segment.number: segment.position for segment in segments}
        self.lsn = lsn
        self.bytes = size

    def run(self) -> None:
        """fsync the segments, oldest first. OSError is final: hand it to ``sync_end``, never run the ticket again."""
        try:
            for segment in self.segments:
                segment.sync()
        except OSError:
            mark_fsync_failed(self._disk, self._mark_path)
            raise


def mark_fsync_failed(disk: Disk, path: str) -> None:
    """Leave the mark for the next life. It need not be durable: after a power cut the disk tells the truth again."""
    with contextlib.suppress(OSError):  # already there, or a directory that takes no file: then opening it fails too
        disk.create(path).close()


@cython.cclass
class Wal:
    """Appends records, rolls to a new segment, and keeps count of what is written and synced."""

    def __init__(
        self, directory: str, disk: Disk, capacity: int, random: Callable[[int], bytes], next_number: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._random = random
        self._next_number = next_number
        self._rolled: list[SegmentWriter] = []  # written to the end, not known to be synced
        self._ticket: SyncTicket | None = None
        self._dirty = False  # the active segment has bytes that no ticket has covered
        self.capacity = max(capacity, SEGMENT_BYTES_MIN)
        self.active: SegmentWriter | None = None
        self.prepared: SegmentWriter | None = None
        self.written_lsn = 0
        self.synced_lsn = 0
        self.header_synced_lsn = 0  # the highest ``synced`` that a written header carries
        self.bytes_written = 0
        self._ticket_bytes = 0  # of them, those that tickets have covered

    @property
    def number(self) -> int:
        """Number of the active segment."""
        return self._writer.number

    @property
    def salt(self) -> int:
        return self._writer.salt

    @property
    def room(self) -> int:
        """Bytes of records the active segment still takes."""
        return self._writer.room - RESERVE_BYTES

    @property
    def _writer(self) -> SegmentWriter:
        if self.active is None:
            raise RuntimeError("the log has no active segment")
        return self.active

    def salt_bits(self) -> int:
        """64 random bits for a new segment."""
        return int.from_bytes(self._random(8), "little")

    def prepare(self, capacity: int) -> None:
        """Have a segment of at least ``capacity`` bytes ready, here and now. StoreFull if the disk has no room."""
        capacity = max(capacity + SEGMENT_BYTES_MIN, self.capacity)
        if self.prepared is not None and self.prepared.capacity >= capacity:
            return
        number = self._next_number()
        temporary = f"{self._directory}/segment-{number}{TEMPORARY_SUFFIX}"
        prepare_segment(self._disk, temporary, number, capacity, self.salt_bits())
        run_steps(self.adopting(number, temporary))

    def adopting(self, number: int, temporary: str) -> Steps[None]:
        """Take a prepared segment as the next one, unless a later one is in use or ready: order is by number.

        A writer may need a segment while this one is being named, and then makes itself a later one: it is given up.
        """
        if self._is_passed(number):
            yield lambda: self._disk.unlink(temporary)
            return
        opened: list[SegmentWriter] = []

        def name_and_open() -> None:
            path = install_segment(self._disk, self._directory, temporary, number)
            opened.append(SegmentWriter.open(self._disk, path))

        yield name_and_open
        unused: SegmentWriter | None = opened[0]
        if not self._is_passed(number):
            unused, self.prepared = self.prepared, unused
        if unused is not None:
            yield partial(self._drop, unused)

    def _is_passed(self, number: int) -> bool:
        return any(writer is not None and number < writer.number for writer in (self.active, self.prepared))

    def _drop(self, writer: SegmentWriter) -> None:
        """Give up a segment that holds nothing."""
        writer.close()
        self._disk.unlink(writer.path)

    def start(self, durable_lsn: int) -> None:
        """Open a segment for what follows ``durable_lsn``, all of which is durable.

        On a full disk a small segment will do: then reads are served, and writes once there is room.
        """
        try:
            self.prepare(0)
        except StoreFull:
            full, self.capacity = self.capacity, SEGMENT_BYTES_MIN
            try:
                self.prepare(0)
            finally:
                self.capacity = full
        self.roll()
        self.written_lsn = self.synced_lsn = durable_lsn

    def begin_term(self, term: int, lsn: int, time_ms: int) -> None:
        """Write the record that begins ``term`` and make it durable; everything before it must already be.

        ValueError if there is no room for it, or something is not synced.
        """
        if self.room < EMPTY_RECORD_BYTES or self.synced_lsn < self.written_lsn or self._ticket is not None:
            raise ValueError("the log is not ready for a term record")
        self._append(term_record(term, lsn, self.synced_lsn, time_ms, self.salt))
        ticket = self._begin(lsn)
        ticket.run()
        self.written_lsn = lsn
        self.end(ticket)

    def roll(self) -> None:
        """Go on in the prepared segment."""
        if self.prepared is None:
            raise RuntimeError("no segment is prepared")
        if self.active is not None:
            self._rolled.append(self.active)
        self.active, self.prepared = self.prepared, None
        self._dirty = False

    @cython.ccall
    def append(self, records: bytes, last_lsn: cython.ulonglong) -> None:
        """Write sealed records that end at ``last_lsn``; their headers carry ``synced_lsn``. OSError is final."""
        self._append(records)
        self.written_lsn = last_lsn

    @cython.cfunc
    def _append(self, records: bytes) -> None:
        if self.active is None:
            raise RuntimeError("the log has no active segment")
        self.active.append(records)
        self.bytes_written += len(records)
        self.header_synced_lsn = self.synced_lsn
        self._dirty = True

    def append_empty(self, term: int, time_ms: int) -> bool:
        """Let a header say what has been synced; False if none needs to, or there is no room left for it."""
        if self.header_synced_lsn == self.synced_lsn or self.room < EMPTY_RECORD_BYTES:
            return False
        self._append(empty_record(term, self.written_lsn + 1, self.synced_lsn, time_ms, self.salt))
        return True

    @property
    def syncing(self) -> bool:
        """Whether a ticket is under way."""
        return self._ticket is not None

    def begin(self) -> SyncTicket | None:
        """A ticket for everything written so far; None if nothing is unsynced, or a ticket is under way."""
        if self._ticket is not None or not (self._rolled or self._dirty):
            return None
        return self._begin(self.written_lsn)

    def _begin(self, lsn: int) -> SyncTicket:
        segments = [*self._rolled, self._writer]
        self._ticket = SyncTicket(self._disk, self._directory, segments, lsn, self.bytes_written - self._ticket_bytes)
        self._ticket_bytes = self.bytes_written
        self._dirty = False
        return self._ticket

    def end(self, ticket: SyncTicket) -> None:
        """``ticket`` ran without error."""
        if ticket is not self._ticket:
            raise ValueError("this ticket is not the one under way")
        self._ticket = None
        self.synced_lsn = max(self.synced_lsn, ticket.lsn)
        waiting = []
        for writer in self._rolled:
            if ticket.positions.get(writer.number) == writer.position:
                writer.close()
            else:  # rolled since, or written to between the ticket and the roll
                waiting.append(writer)
        self._rolled = waiting

    def sync(self) -> None:
        """Make everything written durable, here and now. OSError is final; ValueError while a ticket is under way."""
        if self._ticket is not None:
            raise ValueError("a sync is under way on another thread; wait for it")
        ticket = self.begin()
        if ticket is not None:
            ticket.run()
            self.end(ticket)

    def finish(self, term: int, time_ms: int) -> None:
        """End the log of a clean close: all synced, and a record that says so; unused room goes back to the disk."""
        self.sync()
        writer = self._writer
        writer.append(empty_record(term, self.written_lsn + 1, self.synced_lsn, time_ms, self.salt, RECORD_CLOSE))
        writer.trim()
        self._dirty = True
        self.sync()
        prepared, self.prepared = self.prepared, None
        if prepared is not None:
            self._drop(prepared)

    def close(self) -> None:
        """Let go of every file."""
        for writer in (*self._rolled, self.active, self.prepared):
            if writer is not None:
                writer.close()
        self._rolled = []
        self.active = self.prepared = None

    def segment_path(self, number: int) -> str:
        return f"{self._directory}/{segment_name(number)}"
