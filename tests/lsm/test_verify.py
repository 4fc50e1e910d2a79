"""``verify`` finds every damage and changes nothing; ``--repair`` makes a store start again and saves what it cuts."""

import pytest
from support.crash_disk import Crash, CrashDisk
from support.engine_run import DIRECTORY, TINY, open_engine, run_jobs, sync

from sherd.common.errors import Corruption, StoreCorrupt, StoreFormat, StoreLocked
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import MANIFEST_NAME, QUARANTINE_NAME, segment_name, table_name
from sherd.shard.lsm.manifest import read_manifest
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.verify import VerifyReport, verify_directory

pytestmark = pytest.mark.core


def filled() -> tuple[CrashDisk, dict[bytes, bytes]]:
    """A stopped store with tables and a log, and what it holds."""
    disk = CrashDisk()
    engine = open_engine(disk)
    model = {}
    for number in range(300):
        key, value = b"key%04d" % number, b"\xc4\x08%08d" % number
        engine.put(key, value)
        model[key] = value
        engine.commit()
        if number % 20 == 0:
            run_jobs(engine, disk)
    engine.request_flush()
    run_jobs(engine, disk)
    for number in range(20):
        key = b"late%04d" % number
        engine.put(key, b"\x01")
        model[key] = b"\x01"
        engine.commit()
    sync(engine)
    engine.close()
    return disk, model


def verify(disk: CrashDisk, repair: bool = False) -> VerifyReport:
    return verify_directory(DIRECTORY, disk, repair=repair, options=TINY)


def held(engine: Engine, model: dict[bytes, bytes]) -> int:
    """How many keys are there, with the right values."""
    found = 0
    for key, value in model.items():
        entry = engine.get(key)
        if entry is not None:
            assert entry.value == value
            found += 1
    return found


def flip(disk: CrashDisk, name: str, offset: int) -> None:
    path = f"{DIRECTORY}/{name}"
    data = bytearray(disk.read(path))
    data[offset] ^= 1
    disk.replace(path, bytes(data))


def log_record(disk: CrashDisk, position: int) -> tuple[str, int]:
    """Name and offset of a record of the log."""
    names = sorted(name for name in disk.listdir(DIRECTORY) if name.endswith(".wal"))
    with SegmentReader.open(disk, f"{DIRECTORY}/{names[-1]}") as reader:
        return names[-1], [offset for offset, _, _ in reader.records()][position]


def test_a_sound_store() -> None:
    disk, _ = filled()
    before = {path: disk.read(path) for path in disk.files(DIRECTORY)}
    report = verify(disk)
    assert report.ok
    assert report.tables > 0
    assert report.records > 20
    assert report.to_dict()["ok"] is True
    after = {path: disk.read(path) for path in disk.files(DIRECTORY)}
    assert after == before
    assert verify(disk, repair=True).ok
    assert {path: disk.read(path) for path in disk.files(DIRECTORY)} == before


def test_an_open_store_is_left_alone() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    with pytest.raises(StoreLocked):
        verify(disk)
    engine.close()
    with pytest.raises(StoreFormat):
        verify_directory("/nowhere", disk)


def test_damage_in_the_log() -> None:
    disk, model = filled()
    name, offset = log_record(disk, 6)
    flip(disk, name, offset + 60)
    with pytest.raises(StoreCorrupt):
        open_engine(disk)
    report = verify(disk)
    assert not report.ok
    assert all(finding.fatal for finding in report.findings)
    repaired = verify(disk, repair=True)
    assert repaired.repaired
    assert any(finding.done for finding in repaired.findings)
    assert repaired.quarantined == (name,)
    old_last = max(lsn for _, lsn in read_manifest(disk, DIRECTORY).terms) + 20  # type: ignore[union-attr]
    engine = open_engine(disk)
    assert 300 <= held(engine, model) < len(model)
    assert engine.last_lsn > old_last  # no LSN of what was cut is given again
    engine.put(b"new", b"\x01")
    engine.close()
    assert verify(disk).ok
    open_engine(disk).close()


def test_a_lost_segment() -> None:
    disk, model = filled()
    name, _ = log_record(disk, 0)
    disk.unlink(f"{DIRECTORY}/{name}")
    assert not verify(disk).ok
    assert verify(disk, repair=True).repaired
    engine = open_engine(disk)
    assert held(engine, model) == 300
    engine.close()


@pytest.mark.parametrize("how", ["flip", "cut", "unlink"])
def test_damage_in_a_table(how: str) -> None:  # FAULTS 13, 14
    disk, model = filled()
    manifest = read_manifest(disk, DIRECTORY)
    assert manifest is not None
    victim = manifest.tables[len(manifest.tables) // 2]
    name = table_name(victim.number)
    path = f"{DIRECTORY}/{name}"
    if how == "flip":
        flip(disk, name, 100)
    elif how == "cut":
        disk.replace(path, disk.read(path)[:-10])
    else:
        disk.unlink(path)
    report = verify(disk)
    assert [finding.file for finding in report.findings] == [name]
    assert report.findings[0].fatal == (how != "flip")
    if how == "flip":
        engine = open_engine(disk)
        with pytest.raises(Corruption):
            engine.get(victim.smallest)
        engine.close()
    else:
        with pytest.raises(StoreCorrupt):
            open_engine(disk)
    assert verify(disk, repair=True).repaired
    if how != "unlink":
        assert name in disk.listdir(f"{DIRECTORY}/{QUARANTINE_NAME}")
    assert verify(disk).ok
    engine = open_engine(disk)
    assert held(engine, model) >= len(model) - victim.entries
    engine.close()


def test_a_damaged_manifest_is_rebuilt() -> None:
    disk, model = filled()
    flip(disk, MANIFEST_NAME, 40)
    with pytest.raises(StoreCorrupt):
        open_engine(disk)
    assert not verify(disk).ok
    report = verify(disk, repair=True)
    assert report.repaired
    assert "rebuilt" in report.findings[0].done
    assert verify(disk).ok
    engine = open_engine(disk)
    assert held(engine, model) == len(model)
    assert engine.count_page(None, None)[0] == len(model)
    engine.close()


def test_a_repair_that_was_interrupted_can_be_run_again() -> None:
    disk, model = filled()
    name, offset = log_record(disk, 6)
    flip(disk, name, offset + 60)
    whole = CrashDisk(disk.image())
    verify(whole, repair=True)
    for index in range(len(whole.operations)):
        broken = CrashDisk(disk.image())
        broken.crash_at(index)
        with pytest.raises(Crash):
            verify(broken, repair=True)
        again = CrashDisk(broken.image())
        verify(again, repair=True)
        engine = open_engine(again)
        assert held(engine, model) >= 300
        engine.close()


def test_segment_names_are_in_the_findings() -> None:
    disk, _ = filled()
    name, _ = log_record(disk, 0)
    flip(disk, name, 3)  # the segment's own header
    report = verify(disk)
    assert report.findings[0].file == name == segment_name(int(name[:6]))
    assert verify(disk, repair=True).repaired
    open_engine(disk).close()
