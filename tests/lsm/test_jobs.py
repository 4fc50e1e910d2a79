"""Jobs: what comes out of them, what stops them, and what they leave behind when they are stopped."""

import errno
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.crash_disk import Crash, CrashDisk, Fault
from support.segment_run import Op, install, write_segment
from support.table_run import KEYS, open_table, walk, write_table

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, SherdError, StoreCorrupt, StoreFull
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import (
    KIND_DELETE,
    KIND_IMPORT,
    KIND_PUT,
    SEGMENT_HEADER_BYTES,
    TEMPORARY_SUFFIX,
    segment_name,
    table_name,
)
from sherd.shard.lsm.job_types import (
    CompactJob,
    CompactResult,
    FlushJob,
    FlushResult,
    Job,
    JobResult,
    OutputTable,
    PrepareJob,
    PrepareResult,
    job_from_wire,
    result_from_wire,
    temporaries_of,
)
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.segment_reader import SegmentReader

pytestmark = pytest.mark.core

OPTIONS = EngineOptions(block_bytes=512)


def empty_disk() -> CrashDisk:
    disk = CrashDisk()
    disk.mkdir("/data")
    disk.sync_dir("/")
    return disk


def run(job: Job, disk: Disk) -> JobResult:
    """The job over both wires, so that what is tested is what a janitor would do."""
    job = job_from_wire(msgpack.unpackb(msgpack.packb(job.to_wire())))
    result = run_job(job, "/data", disk, OPTIONS)
    assert result_from_wire(msgpack.unpackb(msgpack.packb(result.to_wire()))) == result
    return result


def contents(disk: Disk, tables: tuple[OutputTable, ...]) -> dict[bytes, Entry]:
    """All entries of a job's outputs, which ascend and are disjoint."""
    found: list[tuple[bytes, Entry]] = []
    for table in tables:
        opened = open_table(disk, f"/data/{table.temporary}")
        opened.verify()
        assert opened.properties == table.properties
        found += walk(opened.cursor())
    assert [key for key, _ in found] == sorted({key for key, _ in found})
    return dict(found)


def temporaries(disk: CrashDisk) -> list[str]:
    return [path for path in disk.files("/data") if path.endswith(TEMPORARY_SUFFIX)]


OPS = st.builds(
    lambda key, kind, expiry_ms, value: (key, kind, 0 if kind == KIND_DELETE else expiry_ms, value),
    KEYS,
    st.sampled_from([KIND_PUT, KIND_DELETE, KIND_IMPORT]),
    st.sampled_from([0, 1, 500, 2**63]),
    st.binary(max_size=50),
)
TURNS = st.lists(st.lists(OPS, max_size=8), max_size=8)


@given(st.lists(TURNS, min_size=1, max_size=3), st.sampled_from([1, 100, 1 << 20]))
def test_a_flush_is_what_the_log_leaves(segments: list[list[list[Op]]], table_bytes: int) -> None:
    disk = empty_disk()
    expected: dict[bytes, Entry] = {}
    last_lsn = 0
    for number, turns in enumerate(segments, 1):
        left, last_lsn = write_segment(disk, "/data", number, turns, last_lsn + 1, 100 + number)
        expected |= left
    job = FlushJob(3, "life", tuple(range(1, len(segments) + 1)), 1, last_lsn, table_bytes)
    result = run(job, disk)
    assert isinstance(result, FlushResult)
    assert contents(disk, result.tables) == expected
    assert result.id == 3
    written = [number for number, turns in enumerate(segments, 1) if any(turns)]
    assert result.logged_ms == (100 + written[-1] if written else 0)
    assert temporaries(disk) == sorted(f"/data/{table.temporary}" for table in result.tables)
    assert sorted(temporaries_of(job, disk.listdir("/data"))) == sorted(table.temporary for table in result.tables)
    if table_bytes == 1:
        assert len(result.tables) == len(expected)


@given(st.lists(st.tuples(st.sampled_from([b"", b"user:000", b"user:0000"]), KEYS), max_size=60))
def test_a_flush_sorts_keys_that_begin_alike(keys: list[tuple[bytes, bytes]]) -> None:
    disk = empty_disk()
    turns: list[list[Op]] = [[(b"".join(pair), KIND_PUT, 0, b"%d" % i)] for i, pair in enumerate(keys)]
    expected, last_lsn = write_segment(disk, "/data", 1, turns)
    result = run(FlushJob(1, "life", (1,), 1, last_lsn), disk)
    assert isinstance(result, FlushResult)
    assert contents(disk, result.tables) == expected


PUTS: list[list[Op]] = [[(b"%d-%d" % (turn, i), KIND_PUT, 0, b"value" * 9) for i in range(3)] for turn in range(5)]


def flush_job(end_lsn: int, first_lsn: int = 1) -> FlushJob:
    return FlushJob(1, "life", (1,), first_lsn, end_lsn)


def test_a_flush_must_find_exactly_the_memtable() -> None:
    disk = empty_disk()
    _, last_lsn = write_segment(disk, "/data", 1, PUTS)
    assert last_lsn == 15
    for end_lsn in (13, 16, 100):
        with pytest.raises(Corruption, match="000001"):
            run(flush_job(end_lsn), disk)
    with pytest.raises(Corruption, match="out of order"):
        run(flush_job(15, first_lsn=2), disk)
    assert temporaries(disk) == []
    result = run(flush_job(12), disk)
    assert isinstance(result, FlushResult)
    assert len(contents(disk, result.tables)) == 12


def test_a_flush_of_an_empty_log_makes_no_table() -> None:
    disk = empty_disk()
    write_segment(disk, "/data", 1, [])
    result = run(flush_job(0), disk)
    assert result == FlushResult(1, (), 0, 0)


def test_damage_in_what_is_to_be_flushed_stops_the_flush() -> None:  # FAULTS 2, 13
    disk = empty_disk()
    expected, last_lsn = write_segment(disk, "/data", 1, PUTS, capacity=4096)
    path = "/data/" + segment_name(1)
    image = disk.read(path)
    with SegmentReader.open(disk, path) as reader:
        ends = [offset + header.record_bytes for offset, header, _ in reader.records()]
    for at in range(ends[-1]):
        changed = bytearray(image)
        changed[at] ^= 0x10
        disk.replace(path, bytes(changed))
        try:
            result = run(flush_job(last_lsn), disk)
        except SherdError:
            assert temporaries(disk) == []
            continue
        assert isinstance(result, FlushResult)
        assert contents(disk, result.tables) == expected, f"byte {at}"
        for name in disk.listdir("/data"):
            if name.endswith(TEMPORARY_SUFFIX):
                disk.unlink("/data/" + name)
    for size in range(SEGMENT_HEADER_BYTES, ends[-1] - 16, 40):
        disk.replace(path, image[:size])
        with pytest.raises(Corruption, match="000001"):
            run(flush_job(last_lsn), disk)
    assert temporaries(disk) == []


NOW = 1000


def tables(
    disk: CrashDisk, sources: list[list[list[Op]]]
) -> tuple[tuple[tuple[TableMeta, ...], ...], list[dict[bytes, Entry]]]:
    """A flushed table for each source, oldest first."""
    runs = []
    left = []
    last_lsn = 0
    for number, turns in enumerate(sources, 1):
        expected, last = write_segment(disk, "/data", number, turns, last_lsn + 1)
        result = run(FlushJob(number, "life", (number,), last_lsn + 1, last), disk)
        assert isinstance(result, FlushResult)
        metas = install(disk, "/data", result, 100 + number, 0)
        last_lsn = last
        if metas:
            runs.append(metas)
        left.append(expected)
    return tuple(runs), left


@settings(max_examples=60)
@given(
    st.lists(TURNS, min_size=1, max_size=5), st.lists(st.tuples(KEYS, KEYS), max_size=3), st.sampled_from([1, 60, 4096])
)
def test_a_compaction_keeps_what_matters(
    sources: list[list[list[Op]]], ranges: list[tuple[bytes, bytes]], table_bytes: int
) -> None:
    disk = empty_disk()
    runs, left = tables(disk, sources)
    older = tuple((min(pair), max(pair)) for pair in ranges)
    expected: dict[bytes, Entry] = {}
    for source in left:
        expected |= source
    for key, entry in list(expected.items()):
        if not entry.is_live(NOW):
            del expected[key]
            if any(a <= key <= b for a, b in older):
                expected[key] = Entry(entry.lsn, KIND_DELETE, 0, None)
    result = run(CompactJob(77, "life", runs, 1, older, NOW, table_bytes), disk)
    assert not isinstance(result, PrepareResult)
    assert contents(disk, result.tables) == expected
    # The outputs are a run: they compact again, together with nothing, into themselves.
    metas = install(disk, "/data", result, 200, 1)
    again = run(CompactJob(78, "life", (metas,) if metas else (), 2, older, NOW, 1 << 20), disk)
    assert not isinstance(again, PrepareResult)
    assert contents(disk, again.tables) == expected


def test_outputs_of_half_the_size_end_before_tables_of_the_level_below() -> None:
    disk = empty_disk()
    write_table(disk, "/data/" + table_name(1), {b"%03d" % i: Entry(i + 1, KIND_PUT, 0, bytes(97)) for i in range(100)})
    meta = OutputTable("", open_table(disk, "/data/" + table_name(1)).properties).meta(1, 0)
    cuts = (b"005", b"025", b"030", b"0455", b"090", b"200")

    def ranges(found: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
        result = run(CompactJob(len(found), "life", ((meta,),), 1, (), NOW, 2000, found), disk)
        assert isinstance(result, CompactResult)
        return [(table.properties.smallest, table.properties.largest) for table in result.tables]

    whole = [(b"%03d" % i, b"%03d" % (i + 19)) for i in range(0, 100, 20)]
    assert ranges(()) == whole
    assert ranges((b"200",)) == whole
    assert ranges(cuts) == [
        (b"000", b"019"),  # 005 comes too early, 025 too late
        (b"020", b"029"),
        (b"030", b"045"),
        (b"046", b"065"),
        (b"066", b"085"),
        (b"086", b"099"),
    ]


def two_tables(disk: CrashDisk) -> CompactJob:
    for number in (1, 2):
        write_table(
            disk,
            "/data/" + table_name(number),
            {b"%03d" % i: Entry(i + 1 + 1000 * number, KIND_PUT, 0, b"value" * 5) for i in range(0, 90, number)},
            salt=number,
        )
    metas = [OutputTable("", open_table(disk, "/data/" + table_name(n)).properties).meta(n, 0) for n in (1, 2)]
    return CompactJob(5, "life", tuple((meta,) for meta in metas), 1, (), NOW, 1000)


def test_a_compaction_never_launders_damage() -> None:  # FAULTS 13
    disk = empty_disk()
    job = two_tables(disk)
    clean = run(job, disk)
    assert not isinstance(clean, PrepareResult)
    expected = contents(disk, clean.tables)
    for name in temporaries_of(job, disk.listdir("/data")):
        disk.unlink("/data/" + name)
    path = "/data/" + table_name(1)
    image = disk.read(path)
    for at in range(0, len(image), 7):
        changed = bytearray(image)
        changed[at] ^= 0x04
        disk.replace(path, bytes(changed))
        with pytest.raises((Corruption, StoreCorrupt), match="000001"):
            run(job, disk)
        assert temporaries(disk) == []
    disk.replace(path, image)
    again = run(job, disk)
    assert not isinstance(again, PrepareResult)
    assert contents(disk, again.tables) == expected


def test_a_compaction_refuses_a_table_that_is_not_the_one_meant() -> None:
    disk = empty_disk()
    job = two_tables(disk)
    disk.replace("/data/" + table_name(1), disk.read("/data/" + table_name(2)))
    with pytest.raises(StoreCorrupt, match="MANIFEST"):
        run(job, disk)


def test_a_job_without_room_leaves_nothing_and_can_be_run_again() -> None:  # FAULTS 7
    disk = empty_disk()
    job = two_tables(disk)
    used = disk.used_bytes()
    run(job, disk)
    for path in temporaries(disk):
        disk.unlink(path)
    needed = sum(len(op.data) for op in disk.operations if op.kind == "write" and op.path.endswith(TEMPORARY_SUFFIX))
    for extra in range(0, needed, needed // 12):
        disk.capacity_bytes = used + extra
        with pytest.raises(StoreFull):
            run(job, disk)
        assert temporaries(disk) == []
        with pytest.raises(StoreFull):
            run(PrepareJob(9, "life", 3, 1 << 20, 4), disk)
        assert temporaries(disk) == []
    disk.capacity_bytes = 1 << 50
    run(job, disk)


@pytest.mark.parametrize("kind", ["create", "write", "sync"])
def test_a_job_on_a_failing_disk_leaves_nothing(kind: str) -> None:  # FAULTS 5
    disk = empty_disk()
    job = two_tables(disk)
    for after in range(3):
        disk.faults = [Fault(kind, errno.EIO, TEMPORARY_SUFFIX, after=after)]
        with pytest.raises(OSError, match="Input/output"):
            run(job, disk)
        assert temporaries(disk) == []


def test_a_crash_at_any_point_leaves_only_temporaries() -> None:  # FAULTS 9, 10
    disk = empty_disk()
    job = two_tables(disk)
    disk.sync_dir("/data")
    before = disk.image()
    inputs = set(CrashDisk(before).files("/data"))
    twin = CrashDisk(before.copy())
    run(job, twin)
    assert len(twin.operations) > 6
    for index in range(len(twin.operations)):
        crashing = CrashDisk(before.copy())
        crashing.crash_at(index, "midway")
        with pytest.raises(Crash):
            run(job, crashing)
        left = CrashDisk(crashing.image())
        assert {path for path in left.files("/data") if not path.endswith(TEMPORARY_SUFFIX)} == inputs
        # A new life has another incarnation, so what is left does not get in its way.
        run(replace(job, incarnation="next"), left)


def test_outputs_are_durable_when_the_job_returns() -> None:
    disk = empty_disk()
    result = run(two_tables(disk), disk)
    assert not isinstance(result, PrepareResult)
    for table in result.tables:
        written = [op for op in disk.operations if op.path == f"/data/{table.temporary}"]
        assert [op.kind for op in written][-1] == "sync"
        assert written[0].kind == "create"


def test_a_taken_temporary_name_is_refused_and_kept() -> None:  # FAULTS 33
    disk = empty_disk()
    job = two_tables(disk)
    disk.create("/data/life-5-0.tmp").close()
    with pytest.raises(FileExistsError):
        run(job, disk)
    assert temporaries(disk) == ["/data/life-5-0.tmp"]


def test_what_a_pause_raises_stops_the_compaction_and_leaves_nothing() -> None:
    disk = empty_disk()
    for number in (1, 2):
        big = {b"%03d" % i: Entry(i + 1, KIND_PUT, 0, bytes(100_000)) for i in range(30)}
        write_table(disk, "/data/" + table_name(number), big, salt=number)
    metas = [OutputTable("", open_table(disk, "/data/" + table_name(n)).properties).meta(n, 0) for n in (1, 2)]
    job = CompactJob(5, "life", tuple((meta,) for meta in metas), 1, (), NOW, 500_000)
    calls = []

    def pause() -> None:
        calls.append(len(temporaries(disk)))
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, "/data", disk, OPTIONS, pause)
    assert calls[-1] > 0
    assert temporaries(disk) == []


def test_a_prepared_segment_is_ready_to_be_named() -> None:
    disk = empty_disk()
    result = run(PrepareJob(4, "life", 42, 10_000, 2**64 - 1), disk)
    assert result == PrepareResult(4, "life-4-0.tmp")
    with SegmentReader.open(disk, "/data/life-4-0.tmp", 42) as reader:
        assert (reader.header.salt, reader.file_bytes) == (2**64 - 1, 10_000)
        assert list(reader.records()) == []
    assert disk.operations[-1].kind == "sync"
