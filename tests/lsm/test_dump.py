"""The dump: every kind of file, whole and damaged, in lines."""

from pathlib import Path

import pytest
from support.crash_disk import CrashDisk
from support.damage import flips, truncations

from sherd.common.disk import RealDisk
from sherd.common.errors import Corruption, StoreCorrupt, StoreFormat
from sherd.shard.lsm.dump import dump_lines
from sherd.shard.lsm.record import RecordBuilder, frame_body
from sherd.shard.lsm.segment import SegmentHeader

pytestmark = pytest.mark.core

GOLDEN = Path(__file__).resolve().parent / "golden"
SALT = 5


def lines_of(data: bytes, name: str = "file", **options: int) -> list[str]:
    disk = CrashDisk()
    file = disk.create(f"/{name}")
    file.write(data)
    file.close()
    return list(dump_lines(disk, f"/{name}", **options))


def golden(name: str) -> list[str]:
    return list(dump_lines(RealDisk(), str(GOLDEN / name)))


def test_a_segment_shows_every_operation_and_its_end() -> None:
    lines = golden("000042.wal")
    assert lines[0] == "segment number=42 salt=0x0123456789abcdef file_bytes=1088"
    assert lines[1].startswith("@64 record term first_lsn=4294967296 last_lsn=4294967296 synced=17 ")
    assert lines[1].endswith(" term=3 time_ms=1700000000000")
    assert r"  lsn=4294967298 put key=b'pear' expiry_ms=1700000060000 value=b'\xa5green'" in lines
    assert "  lsn=4294967299 delete key=b'plum'" in lines
    assert r"  lsn=4294967300 import key=b'quince' value=b'\xa6yellow' version=77" in lines
    assert lines[-1] == "@800 end next_lsn=4294967302 used_bytes=800"
    assert any("... (202 bytes)" in line for line in lines)
    assert not any("... (" in line for line in dump_lines(RealDisk(), str(GOLDEN / "000042.wal"), shown_bytes=1000))


def record(lsn: int) -> bytes:
    builder = RecordBuilder(lsn)
    builder.append_put(b"key", b"value", 0)
    return builder.seal(1, lsn - 1, 5, SALT)


def test_a_damaged_segment_shows_what_stands_behind_the_damage() -> None:
    data = SegmentHeader(7, SALT).encode() + record(1) + b"\xff" * 48 + record(3) + record(4)
    assert lines_of(data) == [
        "segment number=7 salt=0x0000000000000005 file_bytes=400",
        "@64 record first_lsn=1 last_lsn=1 synced=0 body_bytes=39 term=1 time_ms=5",
        "  lsn=1 put key=b'key' value=b'value'",
        "@160 bad header next_lsn=2 used_bytes=400",
        "headers that verify behind it, synced up to 3:",
        "@208 record first_lsn=3 last_lsn=3 synced=2 body_bytes=39",
        "@304 record first_lsn=4 last_lsn=4 synced=3 body_bytes=39",
    ]


def test_a_malformed_body_does_not_end_the_dump() -> None:
    body = record(1)[48:76] + b"\x07" * 11
    data = SegmentHeader(7, SALT).encode() + frame_body(body, 0, 1, 1, 0, SALT) + record(2)
    lines = lines_of(data)
    assert "malformed: operation of unknown kind 7" in lines[1]
    assert lines[3] == "  lsn=2 put key=b'key' value=b'value'"


def test_a_manifest_shows_all_it_knows() -> None:
    lines = golden("MANIFEST")
    assert lines[0] == "manifest store_id=000102030405060708090a0b0c0d0e0f"
    assert "  clean_lsn=4294967402" in lines
    assert "  term=3 first_lsn=4294967296" in lines
    assert "  drop partition=5 below_lsn=1000" in lines
    assert sum(line.startswith("  table ") for line in lines) == 4


def test_a_table_shows_properties_and_entries() -> None:
    lines = golden("000037.sst")
    assert lines[0] == "table"
    assert "  entries=22" in lines
    assert "  smallest=b'key000'" in lines
    assert r"  lsn=4294967296 put key=b'key000' expiry_ms=1700000000000 value=b'\xb4value number 000000'" in lines
    assert "  lsn=4294967396 delete key=b'plum'" in lines
    assert r"  lsn=4294967346 import key=b'quince' value=b'\xa6yellow'" in lines
    assert sum(line.startswith("  lsn=") for line in lines) == 22


@pytest.mark.parametrize("name", ["000042.wal", "MANIFEST", "000037.sst"])
def test_damage_anywhere_is_shown_or_refused(name: str) -> None:
    """Bytes flipped and cut, under the file's name and under another: never another exception, never silence."""
    data = (GOLDEN / name).read_bytes()
    whole = lines_of(data, name)
    assert lines_of(data) == whole
    damages = [*flips(data, (0x01,)), *((size, cut) for size, cut in truncations(data) if size % 7 == 0)]
    for position, damaged in damages:
        for called in (name, "file"):
            try:
                lines = lines_of(damaged, called)
            except (StoreCorrupt, StoreFormat, Corruption):
                continue
            assert lines != whole or is_padding(name, position), position


def is_padding(name: str, position: int) -> bool:
    """The two places of the golden segment that carry nothing: alignment behind the bodies."""
    return name == "000042.wal" and (140 <= position < 144 or 706 <= position < 720 or 796 <= position < 800)


def test_other_files_are_refused_by_name() -> None:
    for data in (b"", b"hello", b"SherdXyz" + bytes(100)):
        with pytest.raises(StoreFormat, match="/file is neither"):
            lines_of(data)
    with pytest.raises(FileNotFoundError):
        list(dump_lines(RealDisk(), str(GOLDEN / "missing")))
