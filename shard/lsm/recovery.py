"""Starting from what is on disk: read the log that is not in tables, judge where it ends, make what was read durable.

It changes nothing that a second recovery would need: it may be killed at any point, or lose power, and be run again
(each step and what a crash there leaves: CRASHES.md). Invariants: nothing is cut before it is safe in quarantine; a log
is cut only where nothing says that the bytes beyond were ever on stable storage; no segment found here is appended to.
"""

import contextlib
import logging
from dataclasses import dataclass, field

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreCorrupt
from sherd.shard.lsm.format import (
    RECORD_TERM,
    SEGMENT_HEADER_BYTES,
    SEGMENT_SUFFIX,
    TABLE_SUFFIX,
    TEMPORARY_SUFFIX,
    file_number,
    segment_name,
    table_name,
)
from sherd.shard.lsm.frozen import FrozenMemtable
from sherd.shard.lsm.manifest import Manifest
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.quarantine import save_file, save_tail
from sherd.shard.lsm.replay import replay_body
from sherd.shard.lsm.retention import KeptSegment
from sherd.shard.lsm.segment import cut_segment
from sherd.shard.lsm.segment_reader import SegmentReader, Verdict
from sherd.shard.lsm.wal import FSYNC_FAILED_NAME

log = logging.getLogger("lsm")

COPY_BYTES = 1 << 20


@dataclass(slots=True)
class Recovered:
    """What the log held, oldest first; all of it durable."""

    groups: list[FrozenMemtable] = field(default_factory=list)
    last_lsn: int = 0
    """The last LSN that exists, in tables or log."""
    logged_ms: int = 0
    terms: list[tuple[int, int]] = field(default_factory=list)
    """(term, first LSN) of the MANIFEST and of the term records after it."""
    obsolete: list[str] = field(default_factory=list)
    """File names that nothing refers to; to be unlinked once a MANIFEST of this life is durable."""
    kept: list[KeptSegment] = field(default_factory=list)
    """Segments that are in tables, kept for followers."""
    highest_number: int = 0
    """Of any file seen."""
    cut_bytes: int = 0
    """Bytes of the log moved to quarantine because it ended before them."""

    @property
    def term(self) -> int:
        """The latest term, 0 before the first."""
        return self.terms[-1][0] if self.terms else 0


def remove_temporaries(disk: Disk, directory: str) -> None:
    """Unlink what jobs and writers of an earlier life had not finished."""
    for name in disk.listdir(directory):
        if name.endswith(TEMPORARY_SUFFIX):
            disk.unlink(f"{directory}/{name}")


def check_tables(disk: Disk, directory: str, manifest: Manifest) -> None:
    """Every live table is there and has its size; StoreCorrupt if not. Contents are checked when they are read."""
    for table in manifest.tables:
        path = f"{directory}/{table_name(table.number)}"
        if not disk.exists(path):
            raise StoreCorrupt(f"{path} offset 0: the table is missing")
        with contextlib.closing(disk.open_read(path)) as file:
            size = file.size()
        if size != table.bytes:
            raise StoreCorrupt(f"{path} offset {min(size, table.bytes)}: {size} bytes, not {table.bytes}")


class Recovery:
    """One recovery of one directory. ``read_only``: judge and replay, but change nothing (a torn tail is left)."""

    def __init__(
        self, disk: Disk, directory: str, manifest: Manifest, memtable_bytes: int, *, read_only: bool = False
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._manifest = manifest
        self._memtable_bytes = memtable_bytes
        self._read_only = read_only
        self._synced_lsn = 0  # the highest that a header says was synced
        self._kept: list[int] = []  # segments that are in tables, for followers
        self._empty: list[int] = []  # segments to replay in which there was no record
        self._found = Recovered(last_lsn=manifest.flushed_lsn, logged_ms=manifest.logged_ms, terms=list(manifest.terms))

    def run(self) -> Recovered:
        """Replay and repair. Raises StoreCorrupt where it refuses, naming file and offset."""
        check_tables(self._disk, self._directory, self._manifest)
        segments = self._survey()
        self._replay(segments)
        self._found.kept = self._measure_kept(segments)
        self._found.groups = [group for group in self._found.groups if group.segments]
        if not self._read_only:
            self._make_durable()
        return self._found

    def _path(self, number: int) -> str:
        return f"{self._directory}/{segment_name(number)}"

    def _survey(self) -> list[int]:
        """Sort the directory's files into live and obsolete; returns the segments to replay, in order."""
        live_tables = {table.number for table in self._manifest.tables}
        segments = []
        for name in self._disk.listdir(self._directory):
            segment = file_number(name, SEGMENT_SUFFIX)
            table = file_number(name, TABLE_SUFFIX)
            if segment is not None and segment >= self._manifest.first_segment:
                segments.append(segment)
            elif segment is not None and segment >= self._manifest.kept_segment:
                self._kept.append(segment)
            elif segment is not None or (table is not None and table not in live_tables):
                self._found.obsolete.append(name)
            self._found.highest_number = max(self._found.highest_number, segment or 0, table or 0)
        first = self._manifest.first_segment
        if first and first not in segments:
            raise StoreCorrupt(f"{self._path(first)} offset 0: the log segment is missing")
        return sorted(segments)

    def _measure_kept(self, segments: list[int]) -> list[KeptSegment]:
        """The kept segments: each ends where the next one, or the first of ``segments``, begins.

        A damaged one harms nobody here: followers are not given it, nor what is before it.
        """
        numbers = sorted(self._kept)
        found: list[KeptSegment] = []
        for number, following in zip(numbers, [*numbers[1:], *segments[:1]], strict=False):
            try:
                with SegmentReader.open(self._disk, self._path(number), number) as reader:
                    found.append(KeptSegment(number, self._first_lsn(following) - 1, reader.file_bytes))
            except StoreCorrupt as error:
                log.warning("a log segment is no longer kept for followers: %s", error)
                found.clear()
        return found

    def _first_lsn(self, number: int) -> int:
        """The first LSN in a segment; the next one there will be if it has none."""
        with SegmentReader.open(self._disk, self._path(number), number) as reader:
            return next((header.first_lsn for _, header, _ in reader.records()), self._found.last_lsn + 1)

    def _replay(self, segments: list[int]) -> None:
        for index, number in enumerate(segments):
            with SegmentReader.open(self._disk, self._path(number), number) as reader:
                verdict = self._replay_segment(reader)
            if not verdict.clean:
                self._judge(number, verdict, segments[index + 1 :])
                break
        durable_lsn = self._durable_lsn()
        if self._found.last_lsn < durable_lsn:
            where = self._path(segments[-1]) if segments else self._directory
            raise StoreCorrupt(
                f"{where}: the log ends at LSN {self._found.last_lsn}, but LSN {durable_lsn} was durable: "
                "a segment is missing"
            )

    def _durable_lsn(self) -> int:
        """The highest LSN that the MANIFEST says was on stable storage."""
        manifest = self._manifest
        started = manifest.terms[-1][1] if manifest.terms else 0
        return max(manifest.clean_lsn or 0, manifest.flushed_lsn, started)

    def _replay_segment(self, reader: SegmentReader) -> Verdict:
        """Apply one segment's records up to the first place that is not one."""
        found = self._found
        if not found.groups or found.groups[-1].memtable.memory_bytes >= self._memtable_bytes:
            found.groups.append(FrozenMemtable(Memtable()))
        group = found.groups[-1]
        records = 0
        for offset, header, body in reader.records(found.last_lsn + 1):
            if header.synced > found.last_lsn:
                raise StoreCorrupt(
                    f"{reader.path} offset {offset}: LSN {header.synced} was durable when this was written, "
                    f"but the log before it ends at {found.last_lsn}"
                )
            try:
                term, time_ms = replay_body(body, group.memtable)
            except Corruption as error:
                raise StoreCorrupt(f"{reader.path} offset {offset}: {error.message}") from error
            if header.flags & RECORD_TERM and (not found.terms or term > found.terms[-1][0]):
                found.terms.append((term, header.first_lsn))
            found.last_lsn = max(found.last_lsn, header.last_lsn)
            self._synced_lsn = max(self._synced_lsn, header.synced)
            found.logged_ms = group.logged_ms = max(found.logged_ms, time_ms)
            records += 1
        if records:
            group.segments.append(reader.header.number)
            group.last_lsn = found.last_lsn
        else:
            found.obsolete.append(segment_name(reader.header.number))
            self._empty.append(reader.header.number)
        if reader.verdict is None:
            raise RuntimeError("a segment was not read to its end")
        return reader.verdict

    def _judge(self, number: int, verdict: Verdict, later: list[int]) -> None:
        """Segment ``number`` went bad at ``verdict.offset``: refuse if what is missing was durable, else end it."""
        missing_lsn = verdict.missing_lsn or self._found.last_lsn + 1
        where = f"{self._path(number)} offset {verdict.offset}: {verdict.reason.value}"
        covered = verdict.covered or self._durable_lsn() >= missing_lsn
        for other in later:
            if covered:
                break
            with SegmentReader.open(self._disk, self._path(other), other) as reader:
                covered = reader.covers(missing_lsn)
        if covered:
            raise StoreCorrupt(
                f"{where}; LSN {missing_lsn} had been on stable storage, so this is damage and not the end of the log. "
                "Rebuild this shard from a replica, or cut the log here with `sherd verify --repair`"
            )
        log.warning("log ends early at=%s lsn=%d later_segments=%d", where, missing_lsn - 1, len(later))
        if self._read_only:
            return
        self._cut(number, verdict, later)

    def _cut(self, number: int, verdict: Verdict, later: list[int]) -> None:
        """Save what lies beyond the log's end, the last segment first so that a crash leaves no gap; then cut it."""
        for other in reversed(later):
            self._found.cut_bytes += self._save_whole(other)
        if verdict.used_bytes > verdict.offset:
            save_tail(self._disk, self._directory, segment_name(number), verdict.offset, verdict.used_bytes)
            self._found.cut_bytes += verdict.used_bytes - verdict.offset
        cut_segment(self._disk, self._path(number), verdict.offset)

    def _save_whole(self, number: int) -> int:
        """Move a segment to quarantine; one that holds no record is only unlinked. Returns the bytes saved."""
        with SegmentReader.open(self._disk, self._path(number), number) as reader:
            for _ in reader.records():
                pass
            verdict = reader.verdict
        if verdict is not None and verdict.clean and verdict.offset == SEGMENT_HEADER_BYTES:
            self._disk.unlink(self._path(number))
            return 0
        save_file(self._disk, self._directory, segment_name(number))
        return verdict.used_bytes if verdict is not None else 0

    def _make_durable(self) -> None:
        """What was replayed is on stable storage afterwards, names included."""
        mark = f"{self._directory}/{FSYNC_FAILED_NAME}"
        failed = self._disk.exists(mark)
        for number in self._empty:  # an earlier recovery may have cut it and been killed: it must not grow back
            with contextlib.closing(self._disk.open_append(self._path(number))) as file:
                file.sync()
        for group in self._found.groups:
            for number in group.segments:
                if failed:
                    self._rewrite(number)
                else:
                    self._sync_segment(number)
        self._disk.sync_dir(self._directory)
        if failed:
            self._disk.unlink(mark)

    def _sync_segment(self, number: int) -> None:
        """fsync a segment, after writing the same bytes again from the first record on that no header calls synced.

        An earlier life's fsync may have failed over those, on a disk too broken to take the mark: then they are only in
        memory, count as clean, and an fsync alone would report success without writing them.
        """
        begin = end = 0
        with SegmentReader.open(self._disk, self._path(number), number) as reader:
            for offset, header, _ in reader.records():
                if not begin and header.last_lsn > self._synced_lsn:
                    begin = offset
                end = offset + header.record_bytes
        with contextlib.closing(self._disk.open_append(self._path(number), begin or None)) as file:
            if begin:
                for offset in range(begin, end, COPY_BYTES):
                    file.write(file.pread(min(COPY_BYTES, end - offset), offset))
            file.sync()

    def _rewrite(self, number: int) -> None:
        """Write the segment's records anew: after a failed fsync, one that succeeds proves nothing about old bytes."""
        with SegmentReader.open(self._disk, self._path(number), number) as reader:
            end = SEGMENT_HEADER_BYTES
            for offset, header, _ in reader.records():
                end = offset + header.record_bytes
        temporary = f"{self._directory}/rewrite-{number}{TEMPORARY_SUFFIX}"
        copy = self._disk.create(temporary)
        with contextlib.closing(copy), contextlib.closing(self._disk.open_read(self._path(number))) as source:
            for offset in range(0, end, COPY_BYTES):
                copy.write(source.pread(min(COPY_BYTES, end - offset), offset))
            copy.sync()
        self._disk.rename(temporary, self._path(number))
