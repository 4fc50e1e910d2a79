"""Bytes of another segment in a preallocated one: its salt rejects them, however well they would go on. FAULTS 4."""

import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, contents, open_engine, run_jobs, stage
from support.history import History
from support.workload import KEYS, value_of

from sherd.shard.lsm.format import SEGMENT_HEADER_BYTES

pytestmark = pytest.mark.core


def two_segments() -> tuple[CrashDisk, History, list[str]]:
    """A store whose log is two segments, the second going on where the first ends."""
    disk, history = CrashDisk(), History()
    engine = open_engine(disk)
    run_jobs(engine, disk)
    number = 0
    while len(logs(disk)) < 2:
        changes = [(KEYS[number % len(KEYS)], value_of(number, 600))]
        group = history.begin(changes)
        group.versions, group.last_lsn = stage(engine, changes)
        engine.commit()
        history.answer()
        number += 1
    after = CrashDisk(disk.image())
    return after, history, logs(after)


def logs(disk: CrashDisk) -> list[str]:
    """Segments that hold records, by number."""
    return [
        path
        for path in disk.files(DIRECTORY)
        if path.endswith(".wal") and len(disk.read(path).rstrip(b"\0")) > SEGMENT_HEADER_BYTES
    ]


def used_bytes(data: bytes) -> int:
    """Where the next record would go."""
    return (len(data.rstrip(b"\0")) + 15) // 16 * 16


def test_records_of_another_segment_are_not_taken_for_this_ones() -> None:
    disk, history, (first, second) = two_segments()
    data, other = disk.read(first), disk.read(second)
    at = used_bytes(data)
    old = other[SEGMENT_HEADER_BYTES : used_bytes(other)]
    planted = (data[:at] + old).ljust(len(data), b"\0")
    assert planted != data
    disk.replace(first, planted)
    disk.replace(second, other[:SEGMENT_HEADER_BYTES].ljust(len(other), b"\0"))
    found = contents(open_engine(disk, seed=1))
    count = history.check(found, 0, history.answered, "records of the second segment planted in the first")
    assert count < history.answered, "the planted records were replayed"


@pytest.mark.parametrize("gap_bytes", [0, 16, 48, 512, 4096])
def test_old_records_behind_the_end_of_the_log_change_nothing(gap_bytes: int) -> None:
    disk, history, (first, second) = two_segments()
    data, old = disk.read(second), disk.read(first)
    at = used_bytes(data) + gap_bytes
    planted = data[:at] + old[at : len(data)]
    disk.replace(second, planted)
    found = contents(open_engine(disk, seed=1))
    history.check(found, history.answered, history.answered, f"old blocks {gap_bytes} bytes behind the end")
