"""What the janitor is asked and what it answers: jobs over immutable files, and their results.

A job names all that it reads and all that decides its outcome, so it means the same in any process. Its outputs are
temporary files; only the engine gives them names. ``id`` counts the attempts of one life of the engine and
``incarnation`` is random for each life: no two attempts ever share a temporary file, even if a janitor that was given
up turns out to be alive. The wire forms are MessagePack-able lists.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any, Final, Self, TypeAlias

from sherd.shard.lsm.format import TEMPORARY_SUFFIX
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.table_layout import TableProperties

FLUSH_TABLE_BYTES: Final = 512 << 20
"""Raw bytes at which a flush goes on in another table; only enormous memtables come to that."""


def temporary_prefix(incarnation: str, job_id: int) -> str:
    """How the names of a job's temporary files begin."""
    return f"{incarnation}-{job_id}-"


def temporary_name(incarnation: str, job_id: int, output: int) -> str:
    """The name of the ``output``-th temporary file of a job."""
    return f"{temporary_prefix(incarnation, job_id)}{output}{TEMPORARY_SUFFIX}"


def temporaries_of(job: "Job", names: Iterable[str]) -> list[str]:
    """Those of the file names that belong to ``job``: what is to be removed after the process that ran it died."""
    prefix = temporary_prefix(job.incarnation, job.id)
    return [name for name in names if name.startswith(prefix) and name.endswith(TEMPORARY_SUFFIX)]


@dataclass(frozen=True, slots=True)
class FlushJob:
    """Write the operations of closed log segments as level-0 tables."""

    id: int
    incarnation: str
    segments: tuple[int, ...]
    """Numbers of the segments that make up the memtables, oldest first."""
    first_lsn: int
    """LSN that the first record begins with (a term record: or one above); 0 if it is not known."""
    end_lsn: int
    """Last LSN that the memtables cover; all records up to it must be read, and none that reaches beyond it."""
    table_bytes: int = FLUSH_TABLE_BYTES
    """Raw bytes at which a table is closed and the next one begun."""

    def to_wire(self) -> list[Any]:
        return ["flush", *astuple(self)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        job_id, incarnation, segments, *rest = wire[1:]
        return cls(job_id, incarnation, tuple(segments), *rest)


@dataclass(frozen=True, slots=True)
class CompactJob:
    """Merge tables into sorted, disjoint ones for ``output_level``."""

    id: int
    incarnation: str
    sources: tuple[tuple[TableMeta, ...], ...]
    """The inputs as runs: within a run tables ascend and do not overlap; runs may overlap each other."""
    output_level: int
    older: tuple[tuple[bytes, bytes], ...]
    """Key ranges (inclusive) in which tables outside the inputs may hold older versions. Elsewhere, so everywhere if
    there is none (the bottom), tombstones and expired entries are dropped."""
    judged_ms: int
    """Logged time by which entries are expired."""
    table_bytes: int
    """Raw bytes at which a table is closed and the next one begun."""
    cuts: tuple[bytes, ...] = ()
    """Ascending keys, each the first of a table in the level below the output: from half of ``table_bytes`` on, a table
    is closed before one of them. So it later meets whole tables there, none of which its neighbours meet, too."""

    @property
    def inputs(self) -> tuple[TableMeta, ...]:
        """All tables read."""
        return tuple(table for run in self.sources for table in run)

    def to_wire(self) -> list[Any]:
        return ["compact", *astuple(self)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        job_id, incarnation, sources, output_level, older, judged_ms, table_bytes, cuts = wire[1:]
        runs = tuple(tuple(TableMeta(*table) for table in run) for run in sources)
        ranges = tuple((smallest, largest) for smallest, largest in older)
        return cls(job_id, incarnation, runs, output_level, ranges, judged_ms, table_bytes, tuple(cuts))


@dataclass(frozen=True, slots=True)
class MoveJob:
    """Put tables that overlap nothing there into another level as they are.

    There is nothing to compute: it is a job so that it is handed out, installed and tried again like every other.
    """

    id: int
    incarnation: str
    tables: tuple[TableMeta, ...]
    output_level: int

    def to_wire(self) -> list[Any]:
        return ["move", *astuple(self)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        job_id, incarnation, tables, output_level = wire[1:]
        return cls(job_id, incarnation, tuple(TableMeta(*table) for table in tables), output_level)


@dataclass(frozen=True, slots=True)
class PrepareJob:
    """Make the log segment ``number``: ``capacity`` bytes of room, ``salt`` 64 random bits."""

    id: int
    incarnation: str
    number: int
    capacity: int
    salt: int

    def to_wire(self) -> list[Any]:
        return ["prepare", *astuple(self)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        return cls(*wire[1:])


@dataclass(frozen=True, slots=True)
class OutputTable:
    """A finished, synced table under its temporary name."""

    temporary: str
    properties: TableProperties

    def meta(self, number: int, level: int) -> TableMeta:
        """What the MANIFEST will say of it."""
        found = self.properties
        return TableMeta(
            number=number,
            level=level,
            bytes=found.file_bytes,
            entries=found.entries,
            tombstones=found.tombstones,
            expiring=found.expiring,
            smallest=found.smallest,
            largest=found.largest,
            min_lsn=found.min_lsn,
            max_lsn=found.max_lsn,
        )

    def to_wire(self) -> list[Any]:
        return [self.temporary, self.properties.to_wire()]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        return cls(wire[0], TableProperties.from_wire(wire[1]))


@dataclass(frozen=True, slots=True)
class FlushResult:
    """``tables`` ascend; there is none if nothing was written to the log. ``logged_ms``: the latest time in it."""

    id: int
    tables: tuple[OutputTable, ...]
    logged_ms: int
    read_bytes: int

    def to_wire(self) -> list[Any]:
        return ["flush", self.id, [table.to_wire() for table in self.tables], self.logged_ms, self.read_bytes]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        _, job_id, tables, logged_ms, read_bytes = wire
        return cls(job_id, tuple(OutputTable.from_wire(table) for table in tables), logged_ms, read_bytes)


@dataclass(frozen=True, slots=True)
class CompactResult:
    """``tables`` ascend and are disjoint; there may be none. ``dropped`` entries were dead and are gone."""

    id: int
    tables: tuple[OutputTable, ...]
    dropped: int
    read_bytes: int

    def to_wire(self) -> list[Any]:
        return ["compact", self.id, [table.to_wire() for table in self.tables], self.dropped, self.read_bytes]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        _, job_id, tables, dropped, read_bytes = wire
        return cls(job_id, tuple(OutputTable.from_wire(table) for table in tables), dropped, read_bytes)


@dataclass(frozen=True, slots=True)
class MoveResult:
    """Nothing was in the way."""

    id: int

    def to_wire(self) -> list[Any]:
        return ["move", self.id]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        return cls(*wire[1:])


@dataclass(frozen=True, slots=True)
class PrepareResult:
    """The segment, durable under its temporary name."""

    id: int
    temporary: str

    def to_wire(self) -> list[Any]:
        return ["prepare", self.id, self.temporary]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Self:
        return cls(*wire[1:])


Job: TypeAlias = FlushJob | CompactJob | MoveJob | PrepareJob
JobResult: TypeAlias = FlushResult | CompactResult | MoveResult | PrepareResult

_JOBS: Final[dict[str, type[FlushJob] | type[CompactJob] | type[MoveJob] | type[PrepareJob]]] = {
    "flush": FlushJob,
    "compact": CompactJob,
    "move": MoveJob,
    "prepare": PrepareJob,
}
_RESULTS: Final[dict[str, type[FlushResult] | type[CompactResult] | type[MoveResult] | type[PrepareResult]]] = {
    "flush": FlushResult,
    "compact": CompactResult,
    "move": MoveResult,
    "prepare": PrepareResult,
}


def job_from_wire(wire: list[Any]) -> Job:
    """The job whose ``to_wire`` gave this."""
    job: Job = _JOBS[wire[0]].from_wire(wire)
    return job


def result_from_wire(wire: list[Any]) -> JobResult:
    """The result whose ``to_wire`` gave this."""
    result: JobResult = _RESULTS[wire[0]].from_wire(wire)
    return result
