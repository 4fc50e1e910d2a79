"""Runs background jobs: flush, compaction, preparing a log segment. Pure work over immutable files.

Invariants: inputs are only read, and every byte of them that counts is verified by its checksum; outputs are temporary
files created exclusively and durable when the job returns; a job that raises leaves no file behind. So a crash at any
point leaves temporaries and nothing else, and running a job twice does no harm. Whoever asked for the job renames the
outputs, syncs the directory and writes the MANIFEST, in this order.
"""

import contextlib
import errno
from collections.abc import Callable

from xxhash import xxh3_64_intdigest

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreCorrupt, StoreFull
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.compaction import Survivors, copy_entries
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.format import segment_name, table_name
from sherd.shard.lsm.job_types import (
    CompactJob,
    CompactResult,
    FlushJob,
    FlushResult,
    Job,
    JobResult,
    MoveJob,
    MoveResult,
    OutputTable,
    PrepareJob,
    PrepareResult,
    temporary_name,
)
from sherd.shard.lsm.level_cursor import LevelCursor
from sherd.shard.lsm.log_run import LogRun
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.merge import MergeCursor
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.pauses import Pauses
from sherd.shard.lsm.segment import prepare_segment
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.table import Table
from sherd.shard.lsm.table_writer import TableOptions, TableWriter

__all__ = [
    "CompactJob",
    "CompactResult",
    "FlushJob",
    "FlushResult",
    "Job",
    "JobResult",
    "MoveJob",
    "MoveResult",
    "OutputTable",
    "PrepareJob",
    "PrepareResult",
    "run_job",
]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def run_job(
    job: Job, directory: str, disk: Disk, options: EngineOptions, pause: Callable[[], None] = lambda: None
) -> JobResult:
    """Run ``job`` on the files of ``directory`` to its end. ``pause`` is called every few KiB of a flush or compaction.

    Raises Corruption or StoreCorrupt, naming file and offset, for damaged inputs; StoreFull if the disk has no room;
    OSError if it fails; and whatever ``pause`` raises. The job's temporary files are then gone.
    """
    outputs = _Outputs(job, directory, disk, options)
    try:
        if isinstance(job, FlushJob):
            return _flush(job, directory, disk, outputs, Pauses(pause))
        if isinstance(job, CompactJob):
            return _compact(job, directory, disk, outputs, Pauses(pause))
        if isinstance(job, MoveJob):
            return MoveResult(job.id)
        return _prepare(job, directory, disk)
    except OSError as error:
        outputs.remove()
        if error.errno in _NO_ROOM:
            raise StoreFull(f"no room on the disk of {directory} for the outputs of a job") from error
        raise
    except BaseException:
        outputs.remove()
        raise


class _Outputs:
    """The tables that one job writes."""

    def __init__(self, job: Job, directory: str, disk: Disk, options: EngineOptions) -> None:
        self._job = job
        self._directory = directory
        self._disk = disk
        self._options = TableOptions.of(options)
        self._names: list[str] = []

    def write(
        self, cursor: Cursor, table_bytes: int, pauses: Pauses, cuts: tuple[bytes, ...] = ()
    ) -> tuple[OutputTable, ...]:
        """Write the entries from the cursor on, as many tables of ``table_bytes`` raw bytes as they make, or smaller
        ones that end at ``cuts`` (see CompactJob).
        """
        tables = []
        while cursor.valid:
            name = temporary_name(self._job.incarnation, self._job.id, len(self._names))
            path = f"{self._directory}/{name}"
            with contextlib.closing(self._disk.create(path)) as file:
                self._names.append(name)
                # Names of temporaries are unique to incarnation, job and output, so their hash is a salt of its own.
                writer = TableWriter(file, self._options, xxh3_64_intdigest(name.encode()))
                copy_entries(cursor, writer, table_bytes, cuts)
                tables.append(OutputTable(name, writer.finish(pauses)))
        return tuple(tables)

    def remove(self) -> None:
        """Unlink what was written. What the disk refuses to unlink is removed at the next start."""
        for name in self._names:
            with contextlib.suppress(OSError):
                self._disk.unlink(f"{self._directory}/{name}")


def _flush(job: FlushJob, directory: str, disk: Disk, outputs: _Outputs, pauses: Pauses) -> FlushResult:
    run = LogRun(pauses)
    last_lsn = max(0, job.first_lsn - 1)
    next_lsn = job.first_lsn
    logged_ms = read_bytes = 0
    where = directory
    for number in job.segments:
        if last_lsn >= job.end_lsn:
            break
        with SegmentReader.open(disk, f"{directory}/{segment_name(number)}", number) as reader:
            where = reader.path
            for offset, header, body in reader.records(next_lsn):
                try:
                    time_ms = run.add(body)
                except Corruption as error:
                    raise Corruption(f"{reader.path} offset {offset}: {error.message}") from error
                where = f"{reader.path} offset {offset}"
                last_lsn = max(last_lsn, header.last_lsn)
                next_lsn = last_lsn + 1
                logged_ms = max(logged_ms, time_ms)
                read_bytes += header.record_bytes
                if last_lsn >= job.end_lsn:
                    break  # what else is in the segment is not looked at, not even where it ends
            verdict = reader.verdict
            if verdict is not None and not verdict.clean and last_lsn < job.end_lsn:
                raise Corruption(
                    f"{reader.path} offset {verdict.offset}: {verdict.reason.value}, "
                    f"before LSN {job.end_lsn} that is to be flushed"
                )
    if last_lsn != job.end_lsn:
        raise Corruption(f"{where}: the last record ends at LSN {last_lsn}, where {job.end_lsn} was to be flushed")
    run.seek_first()
    result = FlushResult(job.id, outputs.write(run, job.table_bytes, pauses), logged_ms, read_bytes)
    run.release()
    return result


def _compact(job: CompactJob, directory: str, disk: Disk, outputs: _Outputs, pauses: Pauses) -> CompactResult:
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(contextlib.closing(_Run(run, directory, disk))) for run in job.sources]
        survivors = Survivors(MergeCursor([run.cursor() for run in runs]), job.older, job.judged_ms, pauses)
        survivors.seek_first()
        tables = outputs.write(survivors, job.table_bytes, pauses, job.cuts)
    return CompactResult(job.id, tables, survivors.dropped, sum(table.bytes for table in job.inputs))


class _Run:
    """The tables of one run of a compaction, one open at a time."""

    def __init__(self, tables: tuple[TableMeta, ...], directory: str, disk: Disk) -> None:
        self._tables = tables
        self._directory = directory
        self._disk = disk
        self._blocks = BlockCache(0)
        self._table: Table | None = None

    def cursor(self) -> LevelCursor:
        return LevelCursor([(table.smallest, table.largest) for table in self._tables], self._open)

    def _open(self, i: int) -> Cursor:
        self.close()
        meta = self._tables[i]
        table = Table.open(self._disk, f"{self._directory}/{table_name(meta.number)}", meta.number, self._blocks)
        self._table = table
        found = table.properties
        if (found.file_bytes, found.entries, found.smallest, found.largest) != (
            meta.bytes,
            meta.entries,
            meta.smallest,
            meta.largest,
        ):
            raise StoreCorrupt(f"{table.path} is not the table that the MANIFEST lists under its number")
        return table.cursor(fill_cache=False)

    def close(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None


def _prepare(job: PrepareJob, directory: str, disk: Disk) -> PrepareResult:
    name = temporary_name(job.incarnation, job.id, 0)
    prepare_segment(disk, f"{directory}/{name}", job.number, job.capacity, job.salt)
    return PrepareResult(job.id, name)
