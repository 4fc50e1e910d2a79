"""The log of an engine: order of fsyncs, tickets over a roll, preparation, and the mark that a failed fsync leaves."""

import errno
from collections.abc import Iterator

import pytest
from support.crash_disk import CrashDisk, Fault
from support.engine_run import NOTHING, seeded_bytes

from sherd.common.errors import StoreFull
from sherd.shard.lsm.format import segment_name
from sherd.shard.lsm.record import RecordBuilder
from sherd.shard.lsm.segment import prepare_segment
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.steps import run_steps
from sherd.shard.lsm.wal import FSYNC_FAILED_NAME, Wal

pytestmark = pytest.mark.core

DIRECTORY = "/data"
CAPACITY = 4096


class Log:
    """A Wal on a test disk, with records of one put each."""

    def __init__(self, capacity_bytes: int = 1 << 30) -> None:
        self.disk = CrashDisk(capacity_bytes=capacity_bytes)
        self.disk.mkdir(DIRECTORY)
        self.disk.sync_dir("/")
        self._numbers = iter(range(1, 1000))
        self.wal = Wal(DIRECTORY, self.disk, CAPACITY, seeded_bytes(1), lambda: next(self._numbers))
        self.builder = RecordBuilder(101)

    def start(self) -> None:
        self.wal.start(0)
        self.wal.begin_term(1, 100, 5)

    def write(self, size: int = 10) -> int:
        lsn = self.builder.append_put(b"key", bytes(size), 0)
        self.wal.append(self.builder.seal(1, self.wal.synced_lsn, 5, self.wal.salt), lsn)
        return lsn

    def syncs(self) -> list[str]:
        return [one.path for one in self.disk.operations if one.kind == "sync"]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    log.start()
    yield log
    log.wal.close()


def test_a_start_makes_the_term_record_durable(log: Log) -> None:
    assert (log.wal.written_lsn, log.wal.synced_lsn) == (100, 100)
    cut = CrashDisk(log.disk.image().power_cut(NOTHING, 1))
    with SegmentReader.open(cut, log.wal.segment_path(log.wal.number)) as reader:
        assert [header.first_lsn for _, header, _ in reader.records()] == [100]


def test_a_ticket_covers_what_was_written_when_it_began(log: Log) -> None:
    first = log.write()
    ticket = log.wal.begin()
    assert ticket is not None
    assert log.wal.begin() is None  # one at a time
    second = log.write()
    ticket.run()
    log.wal.end(ticket)
    assert log.wal.synced_lsn == first
    log.wal.sync()
    assert log.wal.synced_lsn == second
    assert log.wal.begin() is None  # nothing left


def test_segments_are_fsynced_in_order(log: Log) -> None:
    log.write()
    old = log.wal.segment_path(log.wal.number)
    log.wal.prepare(0)
    log.wal.roll()
    new = log.wal.segment_path(log.wal.number)
    log.write()
    before = len(log.syncs())
    log.wal.sync()
    assert log.syncs()[before:] == [old, new]


def test_a_segment_that_rolled_under_a_ticket_is_fsynced_again(log: Log) -> None:
    """Bytes written between the ticket and the roll are not taken for synced."""
    log.write()
    ticket = log.wal.begin()
    assert ticket is not None
    late = log.write()
    old = log.wal.segment_path(log.wal.number)
    log.wal.prepare(0)
    log.wal.roll()
    ticket.run()
    log.wal.end(ticket)
    assert log.wal.synced_lsn < late
    before = len(log.syncs())
    log.wal.sync()
    assert log.syncs()[before] == old
    assert log.wal.synced_lsn == late


def test_a_failed_fsync_leaves_a_mark(log: Log) -> None:  # FAULTS 5
    log.write()
    ticket = log.wal.begin()
    assert ticket is not None
    log.disk.faults.append(Fault("sync", errno.EIO, ".wal"))
    with pytest.raises(OSError, match=r".*"):
        ticket.run()
    assert log.disk.exists(f"{DIRECTORY}/{FSYNC_FAILED_NAME}")


def test_a_prepared_segment_that_comes_late_is_dropped(log: Log) -> None:
    """Segments are replayed by number, so an older number never goes into use after a newer one."""
    number = 2
    temporary = f"{DIRECTORY}/late.tmp"
    prepare_segment(log.disk, temporary, number, CAPACITY, 7)
    next(log._numbers)  # number 2 went to the janitor
    log.wal.prepare(0)
    log.wal.roll()
    assert log.wal.number == 3
    run_steps(log.wal.adopting(number, temporary))
    assert log.wal.prepared is None
    assert not log.disk.exists(temporary)


def test_a_segment_that_is_passed_while_it_gets_its_name_is_dropped(log: Log) -> None:
    """The disk work of taking it over runs beside the writers, who do not wait for it."""
    number = next(log._numbers)
    temporary = f"{DIRECTORY}/slow.tmp"
    prepare_segment(log.disk, temporary, number, CAPACITY, 7)
    steps = log.wal.adopting(number, temporary)
    next(steps)()
    assert log.disk.exists(f"{DIRECTORY}/{segment_name(number)}")
    assert log.wal.prepared is None  # the engine's own part comes after the disk's
    log.wal.prepare(0)
    log.wal.roll()
    assert log.wal.number > number
    run_steps(steps)
    assert log.wal.prepared is None
    assert not log.disk.exists(f"{DIRECTORY}/{segment_name(number)}")


def test_a_large_record_gets_a_segment_of_its_size(log: Log) -> None:
    assert log.wal.room < 3 * CAPACITY
    log.wal.prepare(3 * CAPACITY)
    log.wal.roll()
    assert log.wal.room >= 3 * CAPACITY


def test_no_room_for_a_segment(log: Log) -> None:  # FAULTS 6
    log.disk.capacity_bytes = log.disk.used_bytes() + 100
    with pytest.raises(StoreFull):
        log.wal.prepare(0)
    assert log.wal.prepared is None
    assert [name for name in log.disk.listdir(DIRECTORY) if name.endswith(".tmp")] == []
    assert log.write() > 0  # what there is still takes records
    log.disk.capacity_bytes = 1 << 30
    log.wal.prepare(0)


def test_a_full_disk_is_started_on_with_a_small_segment() -> None:
    log = Log(capacity_bytes=1000)
    log.start()
    assert log.wal.synced_lsn == 100
    assert log.wal.room < 500
    log.wal.close()


def test_an_empty_record_carries_what_was_synced(log: Log) -> None:  # FAULTS 3
    lsn = log.write()
    assert not log.wal.append_empty(1, 5)  # nothing new is synced
    log.wal.sync()
    assert log.wal.append_empty(1, 5)
    assert not log.wal.append_empty(1, 5)
    log.wal.sync()
    with SegmentReader.open(log.disk, log.wal.segment_path(log.wal.number)) as reader:
        headers = [header for _, header, _ in reader.records()]
    assert headers[-1].synced == lsn
    assert headers[-1].last_lsn == headers[-1].first_lsn - 1 == lsn


def test_finish_ends_the_log_and_gives_room_back(log: Log) -> None:
    log.write()
    log.wal.prepare(0)
    log.wal.finish(1, 5)
    names = log.disk.listdir(DIRECTORY)
    assert len([name for name in names if name.endswith(".wal")]) == 1
    assert log.disk.used_bytes() < CAPACITY
