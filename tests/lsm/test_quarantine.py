"""Quarantine: nothing there is overwritten, and what is saved is durable before its original may be cut."""

import pytest
from support.crash_disk import Crash, CrashDisk
from support.survival import SURVIVALS

from sherd.shard.lsm.quarantine import quarantined, save_file, save_tail
from sherd.shard.lsm.record import RecordBuilder
from sherd.shard.lsm.segment import SegmentHeader, cut_segment
from sherd.shard.lsm.segment_reader import Reason, SegmentReader

pytestmark = pytest.mark.core

NAME = "000007.wal"
SALT = 99


def record(lsn: int) -> bytes:
    builder = RecordBuilder(lsn)
    builder.append_put(b"key", b"value", 0)
    return builder.seal(1, lsn - 1, 5, SALT)


HEADER = SegmentHeader(7, SALT).encode()
SEGMENT = HEADER + record(1) + b"torn".ljust(96, b"\0") + record(3) + record(4) + bytes(500)


def new_disk() -> CrashDisk:
    disk = CrashDisk()
    disk.mkdir("/db")
    disk.sync_dir("/")
    file = disk.create(f"/db/{NAME}")
    file.write(SEGMENT)
    file.sync()
    disk.sync_dir("/db")
    return disk


def cut_at() -> tuple[int, int]:
    with SegmentReader.open(new_disk(), f"/db/{NAME}") as reader:
        assert len(list(reader.records(1))) == 1
        assert reader.verdict is not None
        assert reader.verdict.reason is Reason.BAD_HEADER
        return reader.verdict.offset, reader.verdict.used_bytes


def test_a_saved_tail_is_a_segment_that_can_be_read() -> None:
    disk = new_disk()
    offset, used = cut_at()
    path = save_tail(disk, "/db", NAME, offset, used)
    assert path == f"/db/quarantine/{NAME}.from-{offset}"
    assert disk.read(path) == HEADER + SEGMENT[offset:used]
    assert disk.read(f"/db/{NAME}") == SEGMENT
    with SegmentReader.open(disk, path) as reader:
        assert [header.first_lsn for _, header in reader.headers()] == [3, 4]


def test_names_are_never_taken_twice() -> None:
    disk = new_disk()
    first = save_tail(disk, "/db", NAME, 64, len(SEGMENT))
    second = save_tail(disk, "/db", NAME, 64, 80)
    third = save_tail(disk, "/db", NAME, 64, 96)
    assert [second, third] == [f"{first}.2", f"{first}.3"]
    assert [len(disk.read(path)) for path in (first, second, third)] == [len(SEGMENT), 80, 96]
    assert len(quarantined(disk, "/db")) == 3


def test_a_large_tail_is_copied_whole() -> None:
    disk = new_disk()
    data = HEADER + bytes(range(256)) * 10_000
    disk.replace(f"/db/{NAME}", data)
    assert disk.read(save_tail(disk, "/db", NAME, 64, len(data) + 5)) == data


def test_a_whole_file_is_moved() -> None:
    disk = new_disk()
    assert quarantined(disk, "/db") == ()
    assert save_file(disk, "/db", NAME) == f"/db/quarantine/{NAME}"
    assert not disk.exists(f"/db/{NAME}")
    left = CrashDisk(disk.image().power_cut(SURVIVALS[0]))
    assert left.read(f"/db/quarantine/{NAME}") == SEGMENT
    disk.create(f"/db/{NAME}").close()
    assert save_file(disk, "/db", NAME) == f"/db/quarantine/{NAME}.2"
    assert quarantined(disk, "/db") == (NAME, f"{NAME}.2")


@pytest.mark.parametrize("midway", [False, True])
def test_nothing_is_lost_at_any_crash(midway: bool) -> None:  # FAULTS 12
    """Save, then cut, crashed everywhere and done again: the tail is in the segment or in quarantine."""
    offset, used = cut_at()
    tail = SEGMENT[offset:used]
    for index in range(100):
        disk = new_disk()
        disk.crash_at(len(disk.operations) + index, "midway" if midway else "before")
        try:
            save_tail(disk, "/db", NAME, offset, used)
            cut_segment(disk, f"/db/{NAME}", offset)
        except Crash:
            for survival in SURVIVALS:
                left = CrashDisk(disk.image().power_cut(survival, index))
                saved = [left.read(f"/db/quarantine/{name}") for name in quarantined(left, "/db")]
                assert left.read(f"/db/{NAME}")[offset:used] == tail or HEADER + tail in saved
                save_tail(left, "/db", NAME, offset, used)
                assert left.read(f"/db/{NAME}")[:offset] == SEGMENT[:offset]
            continue
        assert index >= 8
        break
