"""The engine: points, conditions, batches, expiry, group commit, jobs, pages, and how it ends."""

import errno
import importlib
import random

import pytest
from support.crash_disk import CrashDisk, Fault
from support.engine_run import DIRECTORY, TINY, open_engine, rows_of, run_jobs, sync

from sherd.common.clock import ManualClock
from sherd.common.errors import Conflict, Overloaded, StoreClosed, StoreError, StoreLocked, StorePoisoned
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.engine_core import EngineCore
from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT
from sherd.shard.lsm.memtable import Memtable, RunCursor
from sherd.shard.lsm.pressure import SMALL_FROZEN_MAX
from sherd.shard.lsm.table_cache import TableCache, TableHandle
from sherd.shard.lsm.version import Version

pytestmark = pytest.mark.core

ANY = -1


def put_many(engine: Engine, disk: CrashDisk, count: int, size: int = 200) -> None:
    for number in range(count):
        engine.put(b"key%06d" % number, bytes(size))
        engine.commit()
        if number % 20 == 19:
            run_jobs(engine, disk)


def test_points() -> None:
    engine = open_engine(CrashDisk())
    assert engine.get(b"k") is None
    first = engine.put(b"k", b"1")
    second = engine.put(b"k", b"2")
    assert second == first + 1 == engine.last_lsn
    entry = engine.get(b"k")
    assert entry is not None
    assert (entry.value, entry.lsn) == (b"2", second)
    assert engine.delete(b"k") == entry
    assert engine.get(b"k") is None
    assert engine.find(b"k").kind == KIND_DELETE
    engine.close()


def test_deleting_what_is_not_there_stages_nothing() -> None:
    engine = open_engine(CrashDisk())
    last = engine.last_lsn
    assert engine.delete(b"k") is None
    assert (engine.last_lsn, engine.staged, engine.seen_lsn) == (last, False, 0)
    engine.put(b"k", b"1")
    engine.delete(b"k")
    tombstone = engine.last_lsn
    assert engine.delete(b"k") is None
    assert engine.last_lsn == tombstone == engine.seen_lsn
    engine.close()


def test_what_an_answer_rests_on() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    lsn = engine.put(b"a", b"1")
    engine.get(b"a")
    assert engine.seen_lsn == lsn
    engine.get(b"b")
    assert engine.seen_lsn == 0
    engine.delete(b"a")
    assert engine.get(b"a") is None
    assert engine.seen_lsn == engine.last_lsn  # absence by a tombstone may vanish too
    engine.put(b"c", b"2")
    token = engine.request_flush()
    run_jobs(engine, disk)
    assert engine.flush_done(token)
    engine.get(b"c")
    assert engine.seen_lsn == 0  # tables are durable
    engine.close()


def test_conditions() -> None:
    engine = open_engine(CrashDisk())
    with pytest.raises(Conflict) as caught:
        engine.put(b"k", b"1", 0, 5)
    assert caught.value.version == 0
    lsn = engine.put(b"k", b"1", 0, 0)
    with pytest.raises(Conflict) as caught:
        engine.put(b"k", b"2", 0, 0)
    assert caught.value.version == lsn
    with pytest.raises(Conflict):
        engine.delete(b"k", lsn + 1)
    assert engine.last_lsn == lsn
    assert engine.put(b"k", b"2", 0, lsn) == lsn + 1
    assert engine.delete(b"k", lsn + 1) is not None
    assert engine.put(b"k", b"3", 0, 0) == lsn + 3
    engine.close()


def test_a_condition_is_checked_against_tables_too() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    lsn = engine.put(b"k", b"1")
    engine.request_flush()
    run_jobs(engine, disk)
    with pytest.raises(Conflict):
        engine.put(b"k", b"2", 0, 0)
    engine.put(b"k", b"2", 0, lsn)
    engine.close()


def test_expired_counts_as_absent_at_once() -> None:
    clock = ManualClock()
    engine = open_engine(CrashDisk(), clock=clock)
    engine.put(b"k", b"1", engine.now_ms() + 1000)
    assert engine.get(b"k") is not None
    clock.advance(1.0)
    assert engine.get(b"k") is None
    assert engine.count_page(None, None)[0] == 0
    with pytest.raises(Conflict) as caught:
        engine.put(b"k", b"2", 0, 7)
    assert caught.value.version == 0
    assert engine.delete(b"k") is None  # but it is logged, since another leader's clock may be behind
    assert engine.find(b"k").kind == KIND_DELETE
    engine.close()


def test_shard_time_does_not_run_backwards() -> None:  # FAULTS 15
    clock, disk = ManualClock(), CrashDisk()
    engine = open_engine(disk, clock=clock)
    clock.advance(100)
    engine.put(b"k", b"1", engine.now_ms() + 10)
    engine.commit()
    engine.close()
    engine = open_engine(disk, clock=ManualClock())  # 100 s earlier
    assert engine.now_ms() >= clock.now_ms()
    engine.close()


def test_a_batch_is_all_or_nothing() -> None:
    engine = open_engine(CrashDisk())
    engine.put(b"old", b"0")
    last = engine.last_lsn
    with pytest.raises(Conflict) as caught:
        engine.batch([(KIND_PUT, b"a", b"1", 0, ANY), (KIND_PUT, b"old", b"2", 0, 0)])
    assert caught.value.details == {"version": last, "index": 1}
    assert engine.last_lsn == last
    assert engine.get(b"a") is None
    answers = engine.batch(
        [
            (KIND_PUT, b"a", b"1", 0, 0),
            (KIND_DELETE, b"a", None, 0, ANY),
            (KIND_DELETE, b"a", None, 0, ANY),
            (KIND_PUT, b"a", b"2", 0, 0),
            (KIND_DELETE, b"old", None, 0, last),
            (KIND_DELETE, b"never", None, 0, 0),
        ]
    )
    assert answers == [last + 1, True, False, last + 3, True, False]
    entry = engine.get(b"a")
    assert entry is not None
    assert entry.lsn == last + 3
    assert engine.last_lsn == last + 4
    engine.close()


def test_a_batch_larger_than_a_segment() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    ops = [(KIND_PUT, b"key%04d" % number, bytes(1000), 0, ANY) for number in range(100)]
    assert len(engine.batch(ops)) == 100
    engine.commit()
    sync(engine)
    engine.close(clean=False)
    engine = open_engine(disk)
    assert engine.count_page(None, None)[0] == 100
    engine.close()


def test_a_commit_is_one_write() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    before = len([one for one in disk.operations if one.kind == "write"])
    for number in range(20):
        engine.put(b"key%d" % number, b"value")
    assert engine.staged
    engine.commit()
    engine.commit()
    assert len([one for one in disk.operations if one.kind == "write"]) == before + 1
    assert (engine.written_lsn, engine.staged) == (engine.last_lsn, False)
    assert engine.synced_lsn < engine.written_lsn
    sync(engine)
    assert engine.synced_lsn == engine.written_lsn
    engine.close()


def test_too_much_unflushed_is_overloaded_and_a_flush_helps() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    for number in range(10_000):
        try:
            engine.put(b"key%06d" % number, bytes(300))
        except Overloaded:
            break
        engine.commit()
    assert engine.frozen_memtables == SMALL_FROZEN_MAX
    assert engine.pressure().overloaded
    most = (SMALL_FROZEN_MAX + 1) * 1.1 * TINY.memtable_bytes
    assert engine.status()["memtable_bytes"] < most  # type: ignore[operator]
    assert engine.get(b"key000000") is not None
    run_jobs(engine, disk)
    assert not engine.pressure().overloaded
    engine.put(b"more", b"1")
    engine.close()


def test_a_thousand_keys_through_flush_and_compaction() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    put_many(engine, disk, 1000, 100)
    token = engine.request_compact()
    run_jobs(engine, disk)
    assert engine.compact_done(token)
    status = engine.status()
    assert status["keys_estimate"] == 1000
    assert [level["tables"] for level in status["levels"][:6]] == [0] * 6  # type: ignore[index]
    for number in range(0, 1000, 7):
        assert engine.get(b"key%06d" % number) is not None
    assert engine.get(b"key") is None
    assert engine.get(b"zzz") is None
    engine.close()


def test_compaction_drops_the_dead() -> None:
    clock, disk = ManualClock(), CrashDisk()
    engine = open_engine(disk, clock=clock)
    for number in range(100):
        engine.put(b"gone%03d" % number, bytes(50))
        engine.put(b"late%03d" % number, bytes(50), engine.now_ms() + 1000)
        run_jobs(engine, disk)
    engine.commit()
    engine.request_compact()
    run_jobs(engine, disk)
    for number in range(100):
        engine.delete(b"gone%03d" % number)
    clock.advance(2)
    engine.put(b"stays", b"1")  # its record logs the time that expiry is judged by
    engine.commit()
    token = engine.request_compact()
    run_jobs(engine, disk)
    assert engine.compact_done(token)
    assert engine.status()["keys_estimate"] == 1
    assert sum(meta.entries for level in engine.installer.version.metas() for meta in level) == 1
    engine.close()


def test_pages() -> None:
    engine = open_engine(CrashDisk())
    for number in range(10):
        engine.put(b"k%d" % number, b"%c" % number)  # a MessagePack integer each
    engine.delete(b"k3")
    page = engine.scan_page(b"k1", b"k8", limit=3)
    assert (rows_of(page), page.count, page.resume) == ([[b"k1", 1], [b"k2", 2], [b"k4", 4]], 3, b"k5")
    page = engine.scan_page(page.resume, b"k8")
    assert (rows_of(page), page.resume) == ([[b"k5", 5], [b"k6", 6], [b"k7", 7]], None)
    page = engine.scan_page(b"k1", b"k8", True, 2, keys_only=True)
    assert (rows_of(page), page.resume) == ([b"k7", b"k6"], b"k6")
    page = engine.scan_page(b"k1", page.resume, True)
    assert [key for key, _ in rows_of(page)] == [b"k5", b"k4", b"k2", b"k1"]
    page = engine.scan_page(None, None, bytes_max=1)
    assert page.count == 1  # at least one row
    page = engine.scan_page(b"k3", None, examine_max=1)
    assert (page.count, page.resume) == (0, b"k4")  # a tombstone was all there was time for
    assert engine.scan_page(b"x", None) == (b"", 0, None)
    assert engine.scan_page(b"k5", b"k5") == (b"", 0, None)
    page = engine.scan_page(b"k9", None, meta=True)
    assert rows_of(page) == [[b"k9", [9, engine.get(b"k9").lsn, None]]]
    assert engine.count_page(None, None, 4) == (3, b"k4")
    engine.close()


def test_long_keys_and_values_in_a_page() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    keys = [bytes((65 + index,)) * size for index, size in enumerate((1, 255, 256, 4096))]
    for key in keys:
        engine.put(key, b"\xc6" + (70_000).to_bytes(4, "big") + bytes(70_000))
        run_jobs(engine, disk)
    rows = rows_of(engine.scan_page(None, None, bytes_max=1 << 30))
    assert rows == [[key, bytes(70_000)] for key in keys]
    engine.close()


def test_a_failed_write_poisons_for_good() -> None:  # FAULTS 8
    disk = CrashDisk()
    engine = open_engine(disk)
    engine.put(b"a", b"1")
    engine.commit()
    disk.faults.append(Fault("write", errno.EIO, ".wal", short_bytes=10))
    engine.put(b"b", b"2")
    with pytest.raises(StorePoisoned):
        engine.commit()
    for call in (lambda: engine.get(b"a"), lambda: engine.put(b"c", b"3"), engine.commit, engine.sync_begin):
        with pytest.raises(StorePoisoned):
            call()
    assert engine.poisoned
    engine.close()
    engine = open_engine(disk)
    assert engine.get(b"a") is not None
    assert engine.get(b"b") is None
    engine.close()


def test_one_process_at_a_time() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    with pytest.raises(StoreLocked):
        open_engine(disk)
    engine.close()
    engine.close()
    with pytest.raises(StoreClosed):
        engine.get(b"k")
    open_engine(disk).close()


def test_terms_only_rise() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    first_term, first_lsn = engine.term, engine.last_lsn
    engine.close()
    engine = open_engine(disk)
    assert engine.term == first_term + 1
    assert engine.last_lsn >= first_lsn + (1 << 32)
    engine.close()
    with pytest.raises(StoreError, match="term"):
        Engine.open(DIRECTORY, TINY, disk, ManualClock(), term=first_term + 1)
    engine = Engine.open(DIRECTORY, TINY, disk, ManualClock(), term=50)
    assert engine.term == 50
    engine.close()


def test_a_failed_job_changes_nothing_and_is_tried_again_later() -> None:
    clock, disk = ManualClock(), CrashDisk()
    engine = open_engine(disk, clock=clock)
    engine.put(b"k", b"1")
    engine.request_flush()
    job = engine.next_job()
    assert job is not None
    engine.job_failed(job, OSError(errno.EIO, "no"))
    again = engine.next_job()
    assert again is None  # not at once
    clock.advance(1)
    status = engine.status()
    assert status["jobs_failing"] == [{"work": "flush", "times": 1, "error": "OSError: [Errno 5] no"}]
    assert status["last_job_failed_seconds_ago"] == 1.0
    assert run_jobs(engine, disk) > 0
    status = engine.status()
    assert (status["jobs_failed"], status["jobs_failing"]) == (1, [])
    assert status["last_job_failed_seconds_ago"] == 1.0
    engine.close()


def test_like_a_dictionary() -> None:
    """Random operations with jobs in between, against the plainest model."""
    dice, disk = random.Random(3), CrashDisk()
    engine, model = open_engine(disk), dict[bytes, bytes]()
    for _ in range(4000):
        key = b"%03d" % dice.randrange(300)
        kind = dice.random()
        if kind < 0.5:
            value = b"%c" % dice.randrange(128)
            engine.put(key, value)
            model[key] = value
        elif kind < 0.7:
            assert (engine.delete(key) is not None) == (model.pop(key, None) is not None)
        elif kind < 0.95:
            entry = engine.get(key)
            assert (None if entry is None else entry.value) == model.get(key)
        elif kind < 0.97:
            rows = rows_of(engine.scan_page(key, None, bytes_max=1 << 30))
            assert rows == [[k, model[k][0]] for k in sorted(model) if k >= key]
        else:
            engine.commit()
            run_jobs(engine, disk)
    engine.close()


@pytest.mark.parametrize("kind", [Engine, EngineCore, Memtable, RunCursor, Version, TableHandle, TableCache])
def test_compiled_classes_are_extension_types(kind: type) -> None:
    compiled = importlib.import_module(kind.__module__).__file__ or ""
    assert (kind.__dictoffset__ == 0) == (not compiled.endswith(".py"))


def test_a_sync_does_not_pass_a_ticket_that_is_out() -> None:
    """It would return before what the ticket covers is durable."""
    engine = open_engine(CrashDisk())
    engine.put(b"k", b"1")
    engine.commit()
    ticket = engine.sync_begin()
    assert ticket is not None
    with pytest.raises(ValueError, match="under way"):
        engine.sync()
    ticket.run()
    engine.sync_end(ticket)
    assert engine.synced_lsn == engine.last_lsn
    engine.close()
