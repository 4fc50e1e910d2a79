"""A follower's engine: takes the records of a leader's log as they are, in any number of lives, and can lead after."""

import random

import pytest
from msgpack import packb
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, NOTHING, TINY, contents, open_engine, run_jobs, seeded_bytes, sync

from sherd.common.clock import ManualClock
from sherd.common.errors import Corruption, StoreError, StoreReadOnly
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import TERM_LSN_STEP
from sherd.shard.lsm.job_types import FlushJob
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.log_tail import LogPiece, LogTail
from sherd.shard.lsm.segment_tail import SegmentTail

pytestmark = pytest.mark.core


def open_follower(disk: CrashDisk) -> Engine:
    return Engine.open(DIRECTORY, TINY, disk, ManualClock(), random=seeded_bytes(2), follow=True)


def take(follower: Engine, piece: LogPiece) -> None:
    for header, body in piece.records():
        if header.last_lsn > follower.last_lsn:
            follower.apply(header, body)
    follower.commit()


def catch_up(leader: Engine, disk: CrashDisk, follower: Engine, bytes_max: int = 2000) -> None:
    """Give the follower everything from the leader's files."""
    tail = SegmentTail(disk, DIRECTORY, follower.last_lsn + 1)
    while follower.last_lsn < leader.written_lsn:
        piece = tail.read(leader.log_segments, leader.written_lsn, bytes_max)
        assert piece is not None
        take(follower, piece)
    tail.close()


def write_some(engine: Engine, choice: random.Random, count: int) -> None:
    for _ in range(count):
        key = b"key%03d" % choice.randrange(200)
        if choice.random() < 0.2:
            engine.delete(key)
        else:
            engine.put(key, packb(choice.randbytes(choice.randrange(1, 300))))
        if choice.random() < 0.5:
            engine.commit()
    engine.commit()


def assert_same(leader: Engine, follower: Engine) -> None:
    assert (follower.last_lsn, follower.terms) == (leader.last_lsn, leader.terms)
    assert contents(follower) == contents(leader)


@pytest.mark.parametrize("seed", range(6))
def test_a_follower_comes_to_hold_the_same(seed: int) -> None:
    """Through rolls, flushes and compactions of either, and lives of the follower that end cleanly or do not."""
    choice = random.Random(seed)
    disks = CrashDisk(), CrashDisk()
    leader, follower = open_engine(disks[0]), open_follower(disks[1])
    leader.retain(0)
    for _ in range(12):
        write_some(leader, choice, choice.randrange(1, 150))
        run_jobs(leader, disks[0], count_max=choice.randrange(5))
        if choice.random() < 0.7:
            catch_up(leader, disks[0], follower, choice.choice([100, 5000]))
            assert_same(leader, follower)
        run_jobs(follower, disks[1], count_max=choice.randrange(5))
        if choice.random() < 0.4:
            follower.close(clean=choice.random() < 0.5)
            follower = open_follower(disks[1])
    catch_up(leader, disks[0], follower)
    assert_same(leader, follower)
    leader.close()
    follower.close()


def test_a_follower_takes_no_writes_of_its_own() -> None:
    follower = open_follower(CrashDisk())
    with pytest.raises(StoreReadOnly):
        follower.put(b"k", b"1")
    with pytest.raises(StoreReadOnly):
        follower.batch([(1, b"k", b"1", 0, -1)])
    assert follower.last_lsn == 0
    follower.close()


def test_records_that_do_not_go_on_are_refused() -> None:
    disks = CrashDisk(), CrashDisk()
    leader, follower = open_engine(disks[0]), open_follower(disks[1])
    leader.put(b"a", b"1")
    leader.commit()
    catch_up(leader, disks[0], follower)
    leader.put(b"b", b"1")
    leader.commit()
    leader.tail = LogTail(leader.last_lsn + 1, 1000)
    leader.put(b"c", b"1")
    leader.commit()
    piece = leader.tail.read(leader.last_lsn, 1000)
    assert piece is not None
    before = follower.last_lsn
    with pytest.raises(ValueError, match="does not go on"):
        take(follower, piece)
    assert follower.last_lsn == before
    assert follower.get(b"c") is None
    with pytest.raises(ValueError, match="does not follow"):
        leader.apply(*next(piece.records()))
    leader.close()
    follower.close()


def test_a_damaged_piece_is_refused() -> None:
    disks = CrashDisk(), CrashDisk()
    leader = open_engine(disks[0])
    leader.tail = LogTail(leader.last_lsn + 1, 1000)
    leader.put(b"a", b"\x05")
    leader.commit()
    piece = leader.tail.read(leader.last_lsn, 1000)
    assert piece is not None
    for at in range(len(piece.data)):
        data = bytearray(piece.data)
        data[at] ^= 1
        damaged = LogPiece(piece.first_lsn, piece.last_lsn, piece.salt, bytes(data))
        try:
            records = list(damaged.records())
        except Corruption:
            continue
        assert records[0][1] == next(piece.records())[1]  # the flip was in the padding
    leader.close()


def test_a_follower_leads_when_it_is_told_to_and_others_follow_it() -> None:
    disks = [CrashDisk() for _ in range(3)]
    first, second, third = open_engine(disks[0]), open_follower(disks[1]), open_follower(disks[2])
    write_some(first, random.Random(1), 50)
    catch_up(first, disks[0], second)
    before = second.last_lsn
    with pytest.raises(StoreError, match="has seen term 1"):
        second.lead(1)
    second.lead(5)
    assert (second.term, second.following) == (5, False)
    assert second.last_lsn == second.synced_lsn == before + TERM_LSN_STEP
    assert second.put(b"new", b"1") == before + TERM_LSN_STEP + 1
    second.commit()
    catch_up(second, disks[1], third)
    assert_same(second, third)
    with pytest.raises(ValueError, match="does not follow"):
        second.lead(6)
    second.close(clean=False)
    again = open_engine(disks[1])
    assert again.term == 6
    assert contents(again) == contents(third)
    for engine in (first, third, again):
        engine.close()


def test_a_term_is_begun_in_a_new_segment_when_the_old_one_is_full() -> None:
    disks = CrashDisk(), CrashDisk()
    leader, follower = open_engine(disks[0]), open_follower(disks[1])
    while leader.wal is not None and leader.wal.room > 600:
        leader.put(b"k", packb(bytes(300)))
        leader.commit()
    catch_up(leader, disks[0], follower)
    assert follower.wal is not None
    while (left := follower.wal.room - 80) > 0:
        leader.put(b"k", packb(bytes(min(left, 100))))
        leader.commit()
        catch_up(leader, disks[0], follower)
        if follower.wal.room < 80:
            break
    before = follower.segment
    follower.lead(9)
    assert follower.term == 9
    assert follower.segment >= before
    assert contents(follower) == contents(leader)
    leader.close()
    follower.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("piece", range(4))
def test_a_term_may_begin_while_a_flush_is_put_in_its_place(piece: int, when: str) -> None:
    """Before or after each piece of the disk's work for it; then the process is killed."""
    choice = random.Random(3)
    disks = CrashDisk(), CrashDisk()
    leader, follower = open_engine(disks[0]), open_follower(disks[1])
    write_some(leader, choice, 300)
    catch_up(leader, disks[0], follower)
    job = follower.next_job()
    while not isinstance(job, FlushJob):
        follower.install(job, run_job(job, DIRECTORY, disks[1], TINY, lambda: None))
        job = follower.next_job()
    result = run_job(job, DIRECTORY, disks[1], TINY, lambda: None)
    done = 0
    for work in follower.installing(job, result):
        if (done, when) == (piece, "before"):
            follower.lead(7)
        work()
        if (done, when) == (piece, "after"):
            follower.lead(7)
        done += 1
    while follower.unheld_files:
        follower.unlink_one()()
    if follower.following:
        assert piece >= done
        follower.lead(7)
    assert contents(follower) == contents(leader)
    terms = follower.terms
    follower.close(clean=False)
    again = open_follower(disks[1])
    assert contents(again) == contents(leader)
    assert again.terms == terms
    again.close()
    leader.close()


def test_what_a_follower_made_durable_survives_a_power_cut() -> None:
    disks = CrashDisk(), CrashDisk()
    leader, follower = open_engine(disks[0]), open_follower(disks[1])
    write_some(leader, random.Random(3), 40)
    catch_up(leader, disks[0], follower)
    sync(follower)
    expected = contents(follower)
    synced = follower.last_lsn
    write_some(leader, random.Random(4), 40)
    catch_up(leader, disks[0], follower)
    cut = CrashDisk(disks[1].image().power_cut(NOTHING, 1))
    again = open_follower(cut)
    assert again.last_lsn == synced
    assert contents(again) == expected
    catch_up(leader, disks[0], again)
    assert_same(leader, again)
    leader.close()
    again.close()


def test_closed_log_is_kept_as_long_as_it_is_needed_and_fits() -> None:
    disk = CrashDisk()
    leader = open_engine(disk)
    leader.retain(0)
    write_some(leader, random.Random(5), 600)
    run_jobs(leader, disk)
    kept = leader.log_segments
    assert len(kept) > 3
    follower_disk = CrashDisk()
    follower = open_follower(follower_disk)
    leader.close()
    leader = open_engine(disk)
    leader.retain(0)
    assert set(kept) <= set(leader.log_segments)
    catch_up(leader, disk, follower)
    assert_same(leader, follower)
    leader.retain(leader.last_lsn)
    write_some(leader, random.Random(6), 100)
    leader.request_flush()
    run_jobs(leader, disk)
    assert not set(kept) & set(leader.log_segments)
    assert SegmentTail(disk, DIRECTORY, 1).read(leader.log_segments, leader.written_lsn) is None
    leader.close()
    follower.close()


def test_the_tail_in_memory_gives_what_was_written_and_no_more_than_it_may_hold() -> None:
    leader = open_engine(CrashDisk())
    first = leader.last_lsn + 1
    leader.tail = tail = LogTail(first, 3000)
    assert tail.read(first, 100) is None
    for number in range(100):
        leader.put(b"key%d" % number, packb(bytes(100)))
        leader.commit()
    assert tail.read(first, 100) is None
    assert leader.last_lsn - 40 < tail.first_lsn < leader.last_lsn - 5
    at = tail.first_lsn
    found = []
    while (piece := tail.read(at, 500)) is not None:
        assert len(piece.data) <= 500
        found += [header.first_lsn for header, _ in piece.records()]
        at = piece.last_lsn + 1
    assert found == list(range(tail.first_lsn, leader.last_lsn + 1))
    leader.close()
