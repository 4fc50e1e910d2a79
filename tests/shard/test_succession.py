"""Taking over the log of a predecessor on the same host: what goes on from ours, all of it, or nothing yet."""

from typing import Any

import msgpack
import pytest
from support.crash_disk import UNLIMITED_BYTES, CrashDisk
from support.engine_run import TINY, run_jobs, seeded_bytes

from sherd.common.clock import ManualClock
from sherd.common.errors import Overloaded, StoreFull, StoreLocked
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import LOCK_NAME, SEGMENT_SUFFIX, TERM_LSN_STEP, file_number, segment_name
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.replication.succession import take_over_log

pytestmark = pytest.mark.core

OLD, NEW = "/old", "/new"


def open_at(directory: str, disk: CrashDisk, **settings: Any) -> Engine:
    return Engine.open(directory, TINY, disk, ManualClock(), random=seeded_bytes(len(directory)), **settings)


def put(engine: Engine, key: bytes, value: object) -> None:
    engine.put(key, msgpack.packb(value))
    engine.commit()


def value_of(engine: Engine, key: bytes) -> object:
    found = engine.get(key)
    return None if found is None else msgpack.unpackb(found.value)


def ship(disk: CrashDisk, directory: str, follower: Engine, last_lsn: int) -> None:
    """Have the follower apply the log in ``directory`` up to an LSN, as if it had been sent."""
    numbers = [file_number(name, SEGMENT_SUFFIX) for name in disk.listdir(directory)]
    for number in sorted(number for number in numbers if number is not None):
        with SegmentReader.open(disk, f"{directory}/{segment_name(number)}", number) as reader:
            for _, header, body in reader.records():
                if follower.last_lsn < header.last_lsn <= last_lsn:
                    follower.apply(header, body)
    follower.commit()


def old_and_new(disk: CrashDisk, count: int) -> tuple[list[int], Engine]:
    """A log of so many puts in term 1, closed; their LSNs, and a follower that has the first."""
    old = open_at(OLD, disk, term=1)
    lsns = []
    for number in range(count):
        put(old, b"key%d" % number, number)
        lsns.append(old.last_lsn)
    old.close()
    new = open_at(NEW, disk, follow=True)
    ship(disk, OLD, new, lsns[0])
    assert new.last_lsn == lsns[0]
    return lsns, new


def test_what_had_not_been_sent_is_taken_over() -> None:
    disk = CrashDisk()
    lsns, new = old_and_new(disk, 5)
    assert take_over_log(new, disk, OLD) == 4
    assert new.last_lsn == lsns[-1]
    assert [value_of(new, b"key%d" % number) for number in range(5)] == list(range(5))
    assert take_over_log(new, disk, OLD) == 0


def test_a_term_that_began_elsewhere_is_not_taken_over() -> None:
    """Both lost the machine's power, the old leader more than its follower, and it began the next term without that."""
    disk = CrashDisk()
    lsns, new = old_and_new(disk, 2)
    ship(disk, OLD, new, lsns[1])
    assert value_of(new, b"key1") == 1
    short = CrashDisk()
    old = open_at(OLD, short, term=1)
    put(old, b"key0", 0)
    assert old.last_lsn == lsns[0]  # it had lost key1
    old.close()
    old = open_at(OLD, short, term=2)
    assert old.terms[-1] == (2, lsns[0] + TERM_LSN_STEP)
    put(old, b"other", "of term 2")
    old.close()
    assert take_over_log(new, short, OLD) == 0
    assert (new.last_lsn, new.term) == (lsns[1], 1)
    assert value_of(new, b"other") is None


def test_a_log_that_finds_no_room_is_tried_again_and_not_given_up() -> None:
    disk = CrashDisk()
    old = open_at(OLD, disk, term=1)
    for number in range(200):
        put(old, b"key%03d" % number, bytes(900))
    old.close()
    new = open_at(NEW, disk, follow=True)
    disk.capacity_bytes = disk.used_bytes()
    with pytest.raises(StoreFull):
        take_over_log(new, disk, OLD)
    assert new.last_lsn < old.last_lsn
    disk.capacity_bytes = UNLIMITED_BYTES
    while True:
        try:
            take_over_log(new, disk, OLD)
            break
        except Overloaded:  # the memtables are full, which a janitor sees to
            new.commit()
            run_jobs(new, disk, directory=NEW)
    assert new.last_lsn == old.last_lsn
    assert all(value_of(new, b"key%03d" % number) == bytes(900) for number in range(200))


def test_a_directory_that_somebody_uses_is_tried_again() -> None:
    disk = CrashDisk()
    _, new = old_and_new(disk, 2)
    lock = disk.lock(f"{OLD}/{LOCK_NAME}")
    with pytest.raises(StoreLocked, match="is in use"):
        take_over_log(new, disk, OLD)
    lock.release()
    assert take_over_log(new, disk, OLD) == 1


def test_a_log_that_is_damaged_gives_what_is_good() -> None:
    disk = CrashDisk()
    _, new = old_and_new(disk, 3)
    for name in disk.listdir(OLD):
        if file_number(name, SEGMENT_SUFFIX) is not None:
            disk.replace(f"{OLD}/{name}", bytes(100))
    assert take_over_log(new, disk, OLD) == 0
    assert value_of(new, b"key0") == 0
