"""Snapshots show one moment, whatever is written, flushed and compacted afterwards, and hold their files."""

import pytest
from support.crash_disk import CrashDisk
from support.engine_run import open_engine, rows_of, run_jobs

from sherd.common.clock import ManualClock
from sherd.common.errors import StoreClosed
from sherd.shard.lsm import engine as engine_module
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.scan import PageRequest

pytestmark = pytest.mark.core

ALL = PageRequest(None, None, False, 1 << 40, 1 << 30, False, False, 1 << 40)


def test_a_snapshot_stands_still() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    for number in range(50):
        engine.put(b"key%03d" % number, b"\x01")
    with engine.snapshot() as snapshot:
        for number in range(0, 50, 2):
            engine.delete(b"key%03d" % number)
        engine.put(b"key001", b"\x02")
        engine.put(b"new", b"\x03")
        engine.request_compact()
        run_jobs(engine, disk)
        assert rows_of(snapshot.scan_page(ALL)) == [[b"key%03d" % number, 1] for number in range(50)]
        entry = snapshot.get(b"key001")
        assert entry is not None
        assert entry.value == b"\x01"
        assert snapshot.get(b"new") is None
        assert snapshot.count(b"key010", b"key020") == 10
    assert engine.count_page(None, None)[0] == 26
    engine.close()


def test_a_large_memtable_is_frozen_rather_than_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    for number in range(40):
        engine.put(b"key%03d" % number, b"\x01")
    if hasattr(engine_module, "__file__") and engine_module.__file__.endswith(".py"):
        monkeypatch.setattr(engine_module, "SNAPSHOT_COPY_KEYS", 10)
        snapshot = engine.snapshot()
        assert engine.frozen_memtables == 1
    else:
        engine.roll()
        snapshot = engine.snapshot()
    engine.put(b"key000", b"\x02")
    run_jobs(engine, disk)
    entry = snapshot.get(b"key000")
    assert entry is not None
    assert entry.value == b"\x01"
    snapshot.close()
    engine.close()


def test_what_an_install_leaves_is_removed_bit_by_bit_but_not_from_a_snapshot() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    for shared in (False, True):
        for number in range(40):
            engine.put(b"key%03d" % number, b"\x01")
        engine.roll()
        snapshot = engine.snapshot() if shared else None
        engine.request_flush()
        while (job := engine.next_job()) is not None:
            for work in engine.installing(job, run_job(job, engine.directory, disk, engine.options)):
                work()
        assert engine.unheld_files > 0
        assert engine.free_some(30) is not shared
        assert engine.free_some(30) is False
        if snapshot is not None:
            assert snapshot.count(None, None) == 40
            snapshot.close()
        names = len(disk.listdir(engine.directory))
        left = engine.unheld_files
        while engine.unheld_files:
            engine.unlink_one()()
        assert len(disk.listdir(engine.directory)) == names - left
    assert engine.count_page(None, None)[0] == 40
    engine.close()


def test_tables_of_a_snapshot_stay_until_it_is_closed() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    engine.put(b"k", b"\x01")
    engine.request_flush()
    run_jobs(engine, disk)
    old = {name for name in disk.listdir("/data") if name.endswith(".sst")}
    snapshot = engine.snapshot()
    engine.delete(b"k")
    engine.put(b"l", b"\x02")
    engine.request_compact()
    run_jobs(engine, disk)
    assert old <= set(disk.listdir("/data"))
    assert rows_of(snapshot.scan_page(ALL)) == [[b"k", 1]]
    snapshot.close()
    snapshot.close()
    assert not old & set(disk.listdir("/data"))
    with pytest.raises(StoreClosed):
        snapshot.get(b"k")
    engine.close()


def test_expiry_is_judged_by_the_time_of_the_snapshot() -> None:
    clock = ManualClock()
    engine = open_engine(CrashDisk(), clock=clock)
    engine.put(b"k", b"\x01", engine.now_ms() + 1000)
    with engine.snapshot() as snapshot:
        clock.advance(2)
        assert engine.get(b"k") is None
        assert snapshot.get(b"k") is not None
        assert snapshot.count(None, None) == 1
    engine.close()
