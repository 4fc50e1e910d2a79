"""Starting from what is on disk: where a log may be cut, where a start is refused, and what it leaves behind.

The suites in tests/faults crash at every I/O point; here stands one example for each rule.
"""

import errno

import pytest
from support.crash_disk import CrashDisk, Fault
from support.engine_run import DIRECTORY, NOTHING, TINY, open_engine, orphans, run_jobs, sync

from sherd.common.clock import ManualClock
from sherd.common.errors import StoreCorrupt, StoreFormat, StorePoisoned, StoreReadOnly
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import MANIFEST_NAME, QUARANTINE_NAME, segment_name, table_name
from sherd.shard.lsm.manifest import read_manifest
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.wal import FSYNC_FAILED_NAME

pytestmark = pytest.mark.core


def write(engine: Engine, count: int, name: str = "key", size: int = 20) -> None:
    """``count`` puts, each a record of its own."""
    for number in range(count):
        engine.put(b"%s%03d" % (name.encode(), number), bytes(size))
        engine.commit()


def active_path(engine: Engine) -> str:
    return f"{DIRECTORY}/{segment_name(engine.segment)}"


def offsets(disk: CrashDisk, path: str) -> list[int]:
    with SegmentReader.open(disk, path) as reader:
        return [offset for offset, _, _ in reader.records()]


def flip(disk: CrashDisk, path: str, offset: int) -> None:
    data = bytearray(disk.read(path))
    data[offset] ^= 0x10
    disk.replace(path, bytes(data))


def count(engine: Engine) -> int:
    return engine.count_page(None, None)[0]


def test_a_killed_process_loses_nothing_that_was_committed() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 10)
    engine.put(b"staged", b"never written")
    disk = CrashDisk(disk.image())
    engine = open_engine(disk)
    assert count(engine) == 10
    assert engine.status()["quarantined"] == 0
    engine.close()


def test_a_power_cut_leaves_what_was_synced() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 5)
    sync(engine)
    write(engine, 5, "late")
    disk = CrashDisk(disk.image().power_cut(NOTHING, 1))
    engine = open_engine(disk)
    assert count(engine) == 5
    engine.close()


def test_what_was_replayed_is_durable_before_it_is_served() -> None:
    """Killed before the fsync, replayed, then a power cut: what the second life showed must be in the third."""
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 5)
    disk = CrashDisk(disk.image())
    engine = open_engine(disk)
    assert count(engine) == 5
    disk = CrashDisk(disk.image().power_cut(NOTHING, 1))
    engine = open_engine(disk)
    assert count(engine) == 5
    engine.close()


def test_an_fsync_that_failed_is_not_believed_later() -> None:  # FAULTS 5
    """The kernel may drop what it could not write yet go on showing it: recovery writes it anew."""
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 5)
    disk.faults.append(Fault("sync", errno.EIO, ".wal"))
    with pytest.raises(StorePoisoned):
        engine.sync()
    path = active_path(engine)
    engine.close()
    disk = CrashDisk(disk.image())
    before = len(disk.operations)
    engine = open_engine(disk)
    renamed = [one.path for one in disk.operations[before:] if one.kind == "rename"]
    assert path in renamed or any("rewrite" in one for one in renamed)
    assert not disk.exists(f"{DIRECTORY}/{FSYNC_FAILED_NAME}")
    disk = CrashDisk(disk.image().power_cut(NOTHING, 1))
    engine = open_engine(disk)
    assert count(engine) == 5
    engine.close()


def test_a_torn_end_is_cut_saved_and_reported() -> None:  # FAULTS 1
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 5)
    path = active_path(engine)
    last = offsets(disk, path)[-1]
    disk = CrashDisk(disk.image())
    flip(disk, path, last + 60)
    engine = open_engine(disk)
    assert count(engine) == 4
    status = engine.status()
    assert status["quarantined"] == 1
    assert status["cut_bytes"] > 0  # type: ignore[operator]
    assert len(disk.listdir(f"{DIRECTORY}/{QUARANTINE_NAME}")) == 1
    engine.close()
    engine = open_engine(disk)  # and the next start finds nothing to cut
    assert count(engine) == 4
    assert (engine.status()["quarantined"], engine.status()["cut_bytes"]) == (1, 0)
    engine.close()


def test_damage_before_what_a_later_record_says_was_synced_is_refused() -> None:  # FAULTS 2
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 5)
    sync(engine)
    write(engine, 1, "late")
    path = active_path(engine)
    third = offsets(disk, path)[3]
    disk = CrashDisk(disk.image())
    flip(disk, path, third + 60)
    image = disk.image()
    with pytest.raises(StoreCorrupt, match=rf"{segment_name(engine.segment)} offset {third}"):
        open_engine(disk)
    assert disk.image().names.keys() == image.names.keys()  # refusing changes nothing
    with pytest.raises(StoreCorrupt):
        open_engine(disk)


def test_the_last_group_of_an_idle_store_is_covered_by_the_empty_record() -> None:  # FAULTS 3
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 1)
    sync(engine)
    assert engine.append_empty()
    assert not engine.append_empty()
    sync(engine)
    path = active_path(engine)
    disk = CrashDisk(disk.image())
    flip(disk, path, offsets(disk, path)[1] + 60)
    with pytest.raises(StoreCorrupt):
        open_engine(disk)


def test_damage_after_a_clean_close_is_refused() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 3)
    path = active_path(engine)
    engine.close()
    last = offsets(disk, path)[3]
    flip(disk, path, last + 60)
    with pytest.raises(StoreCorrupt):
        open_engine(disk)


def test_a_lost_segment_is_noticed() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 3)
    path = active_path(engine)
    engine.close()
    disk.unlink(path)
    with pytest.raises(StoreCorrupt, match="missing"):
        open_engine(disk)


def test_a_missing_or_short_table_is_refused() -> None:  # FAULTS 14
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 3)
    engine.request_flush()
    run_jobs(engine, disk)
    engine.close()
    manifest = read_manifest(disk, DIRECTORY)
    assert manifest is not None
    path = f"{DIRECTORY}/{table_name(manifest.tables[0].number)}"
    whole = disk.read(path)
    disk.replace(path, whole[:-1])
    with pytest.raises(StoreCorrupt, match=path):
        open_engine(disk)
    disk.unlink(path)
    with pytest.raises(StoreCorrupt, match=path):
        open_engine(disk)


def test_orphans_and_temporaries_go_at_the_start() -> None:
    disk = CrashDisk()
    open_engine(disk).close()
    for name in ("000900.sst", "abc-1-0.tmp", "MANIFEST.tmp"):
        disk.create(f"{DIRECTORY}/{name}").close()
    engine = open_engine(disk)
    assert orphans(disk) == []
    assert engine.installer.next_number() > 900
    engine.close()


def test_segments_of_many_short_lives_are_flushed_together() -> None:
    disk = CrashDisk()
    for life in range(6):
        engine = open_engine(disk)
        write(engine, 2, f"life{life}")
        engine.close(clean=False)
        disk = CrashDisk(disk.image())
    engine = open_engine(disk)
    assert engine.frozen_memtables == 1
    assert engine.unflushed_segments == 6
    engine.request_flush()
    run_jobs(engine, disk)
    assert engine.unflushed_segments == 0
    assert count(engine) == 12
    engine.close()
    engine = open_engine(disk)
    assert count(engine) == 12
    engine.close()


def test_a_directory_of_other_things_is_left_alone() -> None:
    disk = CrashDisk()
    disk.mkdir(DIRECTORY)
    disk.create(f"{DIRECTORY}/photo.jpg").close()
    with pytest.raises(StoreFormat, match="photo"):
        open_engine(disk)
    assert disk.listdir(DIRECTORY) == ["photo.jpg"]


def test_no_store_is_made_unless_asked() -> None:
    with pytest.raises(StoreFormat, match="no store"):
        Engine.open(DIRECTORY, TINY, CrashDisk(), ManualClock(), create=False)
    with pytest.raises(StoreFormat, match="no store"):
        Engine.open(DIRECTORY, TINY, CrashDisk(), ManualClock(), read_only=True)


def test_another_format_version_is_refused() -> None:
    disk = CrashDisk()
    open_engine(disk).close()
    from xxhash import xxh3_64_intdigest

    path = f"{DIRECTORY}/{MANIFEST_NAME}"
    data = bytearray(disk.read(path))
    data[8] = 2
    data[-8:] = xxh3_64_intdigest(bytes(data[:-8])).to_bytes(8, "little")
    disk.replace(path, bytes(data))
    with pytest.raises(StoreFormat, match="version 2"):
        open_engine(disk)


def test_read_only_changes_nothing() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    write(engine, 5)
    disk = CrashDisk(disk.image())
    before = {path: disk.read(path) for path in disk.files(DIRECTORY)}
    engine = Engine.open(DIRECTORY, TINY, disk, ManualClock(), read_only=True)
    assert count(engine) == 5
    assert engine.get(b"key001") is not None
    with pytest.raises(StoreReadOnly):
        engine.put(b"k", b"1")
    assert engine.next_job() is None
    assert engine.status()["keys_estimate"] == 5
    engine.close()
    assert {path: disk.read(path) for path in disk.files(DIRECTORY)} == before
