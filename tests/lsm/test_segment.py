"""Segments: preparing, writing, reading, and the verdict on every kind of ending and damage."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.crash_disk import Crash, CrashDisk, Fault
from support.damage import flips, truncations
from support.survival import SURVIVALS
from xxhash import xxh3_64_intdigest

from sherd.common.errors import StoreCorrupt, StoreFormat, StoreFull, StorePoisoned
from sherd.shard.lsm import segment_reader
from sherd.shard.lsm.format import RECORD_ALIGN, SEGMENT_HEADER_BYTES
from sherd.shard.lsm.record import RecordBuilder, empty_record, frame_body, term_record
from sherd.shard.lsm.record_body import decode_body
from sherd.shard.lsm.segment import SegmentHeader, SegmentWriter, cut_segment, install_segment, prepare_segment
from sherd.shard.lsm.segment_reader import Reason, SegmentReader, Verdict
from sherd.shard.lsm.segment_scan import find_header

pytestmark = pytest.mark.core

SALT = 0xFEDCBA9876543210
PATH = "/db/000007.wal"
CAPACITY = 4096


def new_disk(capacity: int = CAPACITY, salt: int = SALT) -> CrashDisk:
    disk = CrashDisk()
    disk.mkdir("/db")
    disk.sync_dir("/")
    prepare_segment(disk, "/db/a-1.tmp", 7, capacity, salt)
    assert install_segment(disk, "/db", "/db/a-1.tmp", 7) == PATH
    return disk


def record(lsn: int, synced: int, count: int = 1, value: bytes = b"value", salt: int = SALT) -> bytes:
    builder = RecordBuilder(lsn)
    for i in range(count):
        builder.append_put(b"key%d" % i, value, 0)
    return builder.seal(1, synced, 1000 + lsn, salt)


def read(disk: CrashDisk, next_lsn: int = 1) -> tuple[list[int], Verdict]:
    """First LSNs of the good records, and the verdict."""
    with SegmentReader.open(disk, PATH, 7) as reader:
        found = [decode_body(body).first_lsn for _, _, body in reader.records(next_lsn)]
        assert reader.verdict is not None
        return found, reader.verdict


def five() -> tuple[bytes, list[int]]:
    """A segment's bytes with LSNs 1 to 5, the last two unsynced by what they know; and each record's offset."""
    data = bytearray(SegmentHeader(7, SALT).encode())
    offsets = []
    for lsn, synced in ((1, 0), (2, 0), (3, 2), (4, 3), (5, 3)):
        offsets.append(len(data))
        data += record(lsn, synced)
    return bytes(data), offsets


def read_bytes(data: bytes, next_lsn: int = 1) -> tuple[list[int], Verdict]:
    disk = CrashDisk()
    disk.mkdir("/db")
    with_file = disk.create(PATH)
    with_file.write(data)
    with_file.close()
    return read(disk, next_lsn)


def body_end(data: bytes, offset: int) -> int:
    return offset + 48 + int.from_bytes(data[offset : offset + 4], "little")


def test_written_records_are_read_up_to_the_zeros() -> None:
    disk = new_disk()
    writer = SegmentWriter.open(disk, PATH)
    assert (writer.number, writer.salt, writer.capacity, writer.room) == (7, SALT, CAPACITY, CAPACITY - 64)
    writer.append(term_record(1, 1, 0, 9, SALT))
    writer.append(record(2, 1, 3) + record(5, 1))
    writer.append(empty_record(1, 6, 5, 10, SALT))
    writer.sync()
    assert read(disk) == ([1, 2, 5, 6], Verdict(Reason.END, writer.position, 6, None, 0, writer.position))
    with SegmentReader.open(disk, PATH) as reader:
        offsets = [offset for offset, _, _ in reader.records()]
        assert offsets[0] == SEGMENT_HEADER_BYTES
        assert all(offset % RECORD_ALIGN == 0 for offset in offsets)
        assert [offset for offset, _ in reader.headers()] == offsets
        assert reader.covers(5)
        assert not reader.covers(6)
    writer.trim()
    assert disk.open_read(PATH).size() == writer.position
    assert (writer.room, read(disk)[1].reason) == (0, Reason.END)


def test_an_unused_segment_is_a_clean_end() -> None:
    assert read(new_disk()) == ([], Verdict(Reason.END, 64, 1, None, 0, 64))
    data, _ = five()
    assert read_bytes(data[:64]) == ([], Verdict(Reason.END, 64, 1, None, 0, 64))
    assert read_bytes(data[:64] + bytes(20)) == ([], Verdict(Reason.END, 64, 1, None, 0, 64))


def test_records_that_do_not_fit_are_refused_and_nothing_is_written() -> None:
    disk = new_disk(256)
    writer = SegmentWriter.open(disk, PATH)
    writer.append(record(1, 0))
    with pytest.raises(ValueError, match="do not fit"):
        writer.append(record(2, 0, value=bytes(200)))
    writer.append(record(2, 1))
    assert read(disk)[0] == [1, 2]


@pytest.mark.parametrize("short", [0, 30])
def test_a_failed_write_ends_the_writer(short: int) -> None:  # FAULTS 5, 8
    disk = new_disk()
    writer = SegmentWriter.open(disk, PATH)
    writer.append(record(1, 0))
    disk.faults.append(Fault("write", errno.EIO, ".wal", short_bytes=short))
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        writer.append(record(2, 1))
    with pytest.raises(StorePoisoned):
        writer.append(record(2, 1))
    with pytest.raises(StorePoisoned):
        writer.trim()
    found, verdict = read(disk)
    assert (found, verdict.clean, verdict.covered) == ([1], short == 0, False)


@pytest.mark.parametrize("kind", ["allocate", "write", "sync"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_segment_that_cannot_be_prepared_leaves_nothing(kind: str, error: int) -> None:  # FAULTS 6
    disk = CrashDisk()
    disk.mkdir("/db")
    disk.faults.append(Fault(kind, error))
    with pytest.raises(OSError if error == errno.EIO else StoreFull):
        prepare_segment(disk, "/db/a-1.tmp", 7, CAPACITY, SALT)
    assert disk.files("/db") == []
    prepare_segment(disk, "/db/a-1.tmp", 7, CAPACITY, SALT)


def test_a_named_segment_is_whole_after_any_crash() -> None:  # FAULTS 9, 10
    index = 0
    while True:
        disk = CrashDisk()
        disk.mkdir("/db")
        disk.sync_dir("/")
        disk.crash_at(len(disk.operations) + index)
        try:
            prepare_segment(disk, "/db/a-1.tmp", 7, CAPACITY, SALT)
            install_segment(disk, "/db", "/db/a-1.tmp", 7)
        except Crash:
            for survival in SURVIVALS:
                image = disk.image().power_cut(survival)
                left = CrashDisk(image)
                if left.exists(PATH):
                    assert SegmentWriter.open(left, PATH).room == CAPACITY - SEGMENT_HEADER_BYTES
            index += 1
            continue
        break
    assert index >= 6


def test_every_cut_is_judged() -> None:  # FAULTS 1
    data, offsets = five()
    for size, cut in truncations(data):
        if size < SEGMENT_HEADER_BYTES:
            with pytest.raises(StoreCorrupt, match=r"000007\.wal offset 0"):
                read_bytes(cut)
            continue
        found, verdict = read_bytes(cut)
        whole = sum(1 for at in offsets if body_end(data, at) <= size)
        assert found == list(range(1, whole + 1))
        assert verdict.missing_lsn == whole + 1
        assert verdict.offset == min([*offsets, len(data)][whole], size)
        assert verdict.clean == (verdict.offset == size)
        assert not verdict.covered
        assert read_bytes(cut + bytes(512))[0][:whole] == found  # a torn record followed by zeros
        assert not read_bytes(cut + bytes(512))[1].covered


def test_a_last_record_may_end_in_zeros_of_its_own() -> None:
    """Cutting only padding or zeros of a preallocated file must not lose or invent a record."""
    data = SegmentHeader(7, SALT).encode() + record(1, 0, value=bytes(64))
    for zeros in range(0, 200, 8):
        found, verdict = read_bytes(data + bytes(zeros))
        assert (found, verdict.reason, verdict.offset, verdict.used_bytes) == ([1], Reason.END, len(data), len(data))


def test_every_flip_is_found() -> None:  # FAULTS 2, 3
    data, offsets = five()
    ends = [*offsets[1:], len(data)]
    for position, damaged in flips(data + bytes(256)):
        if position < SEGMENT_HEADER_BYTES:
            with pytest.raises(StoreCorrupt, match=r"000007\.wal offset 0"):
                read_bytes(damaged)
            continue
        found, verdict = read_bytes(damaged)
        hit = next((i for i, end in enumerate(ends) if position < end), 5)
        if hit == 5:
            assert found == [1, 2, 3, 4, 5]
            assert (verdict.offset, verdict.covered, verdict.used_bytes) == (len(data), False, position + 1)
            assert not verdict.clean
            continue
        if position >= body_end(data, offsets[hit]):  # padding carries nothing
            assert (found, verdict.clean) == ([1, 2, 3, 4, 5], True)
            continue
        assert found == list(range(1, hit + 1))
        assert (verdict.offset, verdict.missing_lsn) == (offsets[hit], hit + 1)
        assert verdict.reason is (Reason.BAD_HEADER if position < offsets[hit] + 48 else Reason.BAD_BODY)
        assert verdict.next_valid == (offsets[hit + 1] if hit < 4 else None)
        assert verdict.synced_max == (3 if hit < 4 else 0)
        assert verdict.covered == (hit < 3)
        assert len(data.rstrip(b"\0")) <= verdict.used_bytes <= len(data)


def test_a_header_that_points_past_the_end_is_truncation() -> None:
    data, offsets = five()
    body = bytes(28 + 5000)
    data = data[: offsets[1]] + frame_body(body, 0, 2, 2, 1, SALT)[:100]
    found, verdict = read_bytes(data)
    assert (found, verdict.reason, verdict.offset, verdict.next_valid) == ([1], Reason.TRUNCATED, offsets[1], None)
    assert not verdict.covered


def test_zeros_in_the_middle_are_a_hole() -> None:
    """Pages reach the disk in any order: zeros end the log only where nothing follows."""
    data, offsets = five()
    for hit in range(5):
        end = [*offsets, len(data)][hit + 1]
        found, verdict = read_bytes(data[: offsets[hit]] + bytes(end - offsets[hit]) + data[end:] + bytes(99))
        assert found == list(range(1, hit + 1))
        assert verdict.reason is (Reason.HOLE if hit < 4 else Reason.END)
        assert verdict.covered == (hit < 3)
        assert verdict.next_valid == (end if hit < 4 else None)


def test_old_records_of_a_reused_block_are_not_taken() -> None:  # FAULTS 4
    data, offsets = five()
    old = b"".join(record(lsn, lsn - 1, salt=SALT ^ 1) for lsn in range(4, 20))
    found, verdict = read_bytes(data[: offsets[3]] + old)
    assert (found, verdict.reason, verdict.next_valid, verdict.covered) == ([1, 2, 3], Reason.BAD_HEADER, None, False)
    assert verdict.used_bytes == offsets[3] + len(old.rstrip(b"\0"))


def test_a_record_inside_a_value_is_not_taken() -> None:
    """A value that holds whole records of this very segment, where a search would look for them."""
    data, offsets = five()
    nested = record(3, 2)
    before_value = 48 + 28 + len(b"\x01\x04key0") + 2
    outer = record(2, 1, value=bytes(-before_value % 16) + nested * 3)
    assert find_header(outer, 16, SALT) == before_value + -before_value % 16
    good = data[: offsets[1]] + outer + record(3, 1)
    disk = CrashDisk()
    disk.mkdir("/db")
    disk.create(PATH).write(good)
    with SegmentReader.open(disk, PATH) as reader:
        assert [offset for offset, _ in reader.headers()] == [offsets[0], offsets[1], offsets[1] + len(outer)]
        assert not reader.covers(2)
    broken = bytearray(good)
    broken[offsets[1] + 80] ^= 1  # in the outer body, before the nested records
    found, verdict = read_bytes(bytes(broken))
    assert (found, verdict.reason, verdict.next_valid) == ([1], Reason.BAD_BODY, offsets[1] + len(outer))
    assert not verdict.covered


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (record(4, 1), Reason.OUT_OF_ORDER),  # a lost record
        (record(2, 1), Reason.OUT_OF_ORDER),  # a repeated one
        (term_record(2, 2, 1, 9, SALT), Reason.OUT_OF_ORDER),
        (term_record(2, 1 << 32, 3, 9, SALT), Reason.OUT_OF_ORDER),  # knows of an LSN that is not there
        (term_record(2, 1 << 32, 2, 9, SALT), Reason.END),
        (record(3, 2), Reason.END),
    ],
)
def test_records_must_go_on_where_the_last_one_ended(after: bytes, reason: Reason) -> None:
    data, offsets = five()
    found, verdict = read_bytes(data[: offsets[2]] + after)
    assert verdict.reason is reason
    assert len(found) == (3 if reason is Reason.END else 2)
    if reason is Reason.OUT_OF_ORDER:
        assert (verdict.offset, verdict.next_valid, verdict.missing_lsn) == (offsets[2], offsets[2], 3)
        assert verdict.covered == (verdict.synced_max >= 3)


def test_the_first_record_must_be_the_expected_one() -> None:
    data, _ = five()
    assert read_bytes(data, 0)[0] == [1, 2, 3, 4, 5]
    found, verdict = read_bytes(data, 3)
    assert (found, verdict.reason, verdict.covered) == ([], Reason.OUT_OF_ORDER, True)


def test_what_is_missing_without_a_known_lsn_counts_as_covered() -> None:
    data, offsets = five()
    damaged = bytearray(data)
    damaged[offsets[0]] ^= 1
    assert read_bytes(bytes(damaged), 0)[1].covered


def test_a_body_must_agree_with_its_header() -> None:
    data, offsets = five()
    good = record(2, 1)
    body = good[48 : 48 + int.from_bytes(good[:4], "little")]
    for first, last, flags in ((3, 3, 0), (2, 3, 0), (2, 1, 0), (2, 2, 1)):
        found, verdict = read_bytes(data[: offsets[1]] + frame_body(body, flags, first, last, 1, SALT), 0)
        assert (found, verdict.reason) == ([1], Reason.OUT_OF_ORDER if first == 3 else Reason.BAD_BODY)


def test_unknown_flags_and_versions_are_refused_by_name() -> None:
    data, offsets = five()
    good = record(2, 1)
    body = good[48 : 48 + int.from_bytes(good[:4], "little")]
    with pytest.raises(StoreFormat, match=f"offset {offsets[1]}"):
        read_bytes(data[: offsets[1]] + frame_body(body, 64, 2, 2, 1, SALT))
    for patch in ((8, b"\2"), (12, b"\x80"), (0, b"X")):
        with pytest.raises(StoreFormat, match=r"000007\.wal"):
            read_bytes(signed_header(*patch) + data[64:])


def signed_header(position: int, patch: bytes) -> bytes:
    """A segment's header with a change that its checksum agrees with."""
    checked = bytearray(SegmentHeader(7, SALT).encode()[:56])
    checked[position : position + len(patch)] = patch
    return bytes(checked) + xxh3_64_intdigest(bytes(checked)).to_bytes(8, "little")


def test_a_segment_under_another_number_is_refused() -> None:
    disk = new_disk()
    with pytest.raises(StoreCorrupt, match="holds log segment 7, not 8"):
        SegmentReader.open(disk, PATH, 8)


def test_cutting_makes_the_log_end_there() -> None:
    disk = new_disk()
    data, offsets = five()
    disk.replace(PATH, data[: offsets[3] + 5] + b"\xff" + data[offsets[3] + 6 :])
    assert read(disk)[1].reason is Reason.BAD_HEADER
    cut_segment(disk, PATH, offsets[3])
    after = CrashDisk(disk.image().power_cut(SURVIVALS[0]))
    assert read(after) == ([1, 2, 3], Verdict(Reason.END, offsets[3], 4, None, 0, offsets[3]))


@given(
    st.lists(st.integers(0, 700), min_size=1, max_size=12),
    st.integers(0, 11),
    st.integers(0, 2**32),
    st.sampled_from([64, 128, 512, 4096]),
)
def test_chunks_do_not_matter(sizes: list[int], hit: int, where: int, chunk: int) -> None:
    """However a segment is cut into reads, records and verdict are the same."""
    data = bytearray(SegmentHeader(7, SALT).encode())
    for i, size in enumerate(sizes):
        data += record(i + 1, i // 2, value=b"x" * size)
    data += bytes(300)
    if hit < len(sizes):
        data[64 + where % (len(data) - 64)] ^= 0x55
    large = read_bytes(bytes(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_reader, "READ_BYTES", chunk)
        assert read_bytes(bytes(data)) == large


@given(st.binary(max_size=400))
def test_noise_behind_the_header_is_judged(noise: bytes) -> None:
    found, verdict = read_bytes(SegmentHeader(7, SALT).encode() + noise, 0)
    assert (found, verdict.offset, verdict.covered) == ([], 64, False)
    assert verdict.used_bytes == 64 + len(noise.rstrip(b"\0"))
