"""Records: staging, framing and reading back, against a second encoder written from FORMAT.md alone."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import flips, truncations
from xxhash import xxh3_64_intdigest

from sherd.common.errors import Corruption
from sherd.shard.lsm.format import (
    KEY_BYTES_MAX,
    KIND_DELETE,
    KIND_IMPORT,
    KIND_PUT,
    RECORD_HEADER_BYTES,
    RECORD_SPLIT_BYTES,
    STAGE_OVERHEAD_BYTES,
)
from sherd.shard.lsm.record import RecordBuilder, empty_record, frame_body, term_record
from sherd.shard.lsm.record_body import Op, RecordBody, decode_body
from sherd.shard.lsm.segment_scan import RECORD, RecordHeader, RecordScanner, find_header

pytestmark = pytest.mark.core

SALT = 0x0123456789ABCDEF
U64 = st.integers(0, 2**64 - 1)
KEYS = st.binary(min_size=1, max_size=40) | st.just(b"k" * KEY_BYTES_MAX)
VALUES = st.binary(max_size=300) | st.just(b"v" * 20_000)
EXPIRIES = st.just(0) | st.integers(1, 2**64 - 1)
OPS = st.one_of(
    st.builds(Op, st.just(KIND_PUT), KEYS, EXPIRIES, st.just(0), VALUES),
    st.builds(Op, st.just(KIND_DELETE), KEYS, st.just(0), st.just(0), st.none()),
    st.builds(Op, st.just(KIND_IMPORT), KEYS, EXPIRIES, U64, VALUES),
)


def stage(builder: RecordBuilder, op: Op) -> int:
    if op.kind == KIND_DELETE:
        return builder.append_delete(op.key)
    assert op.value is not None
    if op.kind == KIND_PUT:
        return builder.append_put(op.key, op.value, op.expiry_ms)
    return builder.append_import(op.key, op.value, op.expiry_ms, op.version)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out) + bytes([value])


def plain_op(op: Op) -> bytes:
    parts = [bytes([op.kind + (128 if op.expiry_ms else 0)]), varint(len(op.key)), op.key]
    if op.expiry_ms:
        parts.append(struct.pack("<Q", op.expiry_ms))
    if op.kind == KIND_IMPORT:
        parts.append(struct.pack("<Q", op.version))
    if op.value is not None:
        parts += [varint(len(op.value)), op.value]
    return b"".join(parts)


def plain_record(body: RecordBody, synced: int, salt: int) -> bytes:
    packed = struct.pack("<QQIQ", body.term, body.first_lsn, len(body.ops), body.time_ms) + b"".join(
        map(plain_op, body.ops)
    )
    last = body.first_lsn + len(body.ops) - 1
    header = struct.pack("<IIQQQQ", len(packed), 0, body.first_lsn, last, synced, xxh3_64_intdigest(packed))
    header += struct.pack("<Q", xxh3_64_intdigest(header, salt))
    return header + packed + b"\0" * (-len(packed) % 16)


def read_all(data: bytes, salt: int = SALT, next_lsn: int = 0) -> list[tuple[RecordHeader, RecordBody]]:
    """Every record of ``data``, which must be nothing else."""
    scanner = RecordScanner(salt, 0, len(data), next_lsn)
    scanner.feed(data)
    found = []
    while scanner.next() == RECORD:
        found.append((scanner.header, decode_body(scanner.body)))
    assert scanner.position == len(data)
    return found


@given(st.lists(OPS, min_size=1, max_size=20), st.integers(1, 2**60), U64, U64, U64)
def test_what_is_staged_is_read_back(ops: list[Op], lsn: int, term: int, time_ms: int, salt: int) -> None:
    builder = RecordBuilder(lsn)
    assert [stage(builder, op) for op in ops] == list(range(lsn, lsn + len(ops)))
    assert builder.op_count == len(ops)
    staged = builder.bytes_staged
    data = builder.seal(term, lsn - 1, time_ms, salt)
    body = RecordBody(term, lsn, time_ms, ops)
    assert data == plain_record(body, lsn - 1, salt)
    assert len(data) == staged
    ((header, found),) = read_all(data, salt, lsn)
    assert found == body
    assert (header.first_lsn, header.last_lsn, header.synced) == (lsn, lsn + len(ops) - 1, lsn - 1)
    assert (builder.op_count, builder.bytes_staged, builder.next_lsn) == (0, 0, lsn + len(ops))
    assert builder.seal(term, 0, time_ms, salt) == b""


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 400_000), min_size=1, max_size=5)), max_size=8))
def test_however_a_turn_is_grouped_all_of_it_is_read_back(turns: list[tuple[bool, list[int]]]) -> None:
    """Records follow each other without a gap, hold every operation in order, and no group is in two of them."""
    builder = RecordBuilder(1)
    groups = []
    for grouped, sizes in turns:
        first = builder.next_lsn
        if grouped:
            builder.begin_group()
        for size in sizes:
            builder.append_put(b"%d" % builder.next_lsn, bytes(size), 0)
        if grouped:
            builder.end_group()
            groups.append((first, builder.next_lsn - 1))
    staged = builder.bytes_staged
    data = builder.seal(1, 0, 2, SALT)
    assert len(data) == staged
    records = read_all(data, next_lsn=1)
    assert [op.key for _, body in records for op in body.ops] == [b"%d" % lsn for lsn in range(1, builder.next_lsn)]
    for first, last in groups:
        assert sum(header.first_lsn <= last and header.last_lsn >= first for header, _ in records) == 1


def test_a_used_buffer_leaves_no_trace() -> None:
    builder = RecordBuilder(1)
    builder.append_put(b"\xff" * 100, b"\xff" * 1000, 2**64 - 1)
    builder.seal(2**64 - 1, 0, 2**64 - 1, SALT)
    builder.append_delete(b"k")
    assert builder.seal(1, 0, 2, SALT) == plain_record(RecordBody(1, 2, 2, [Op(2, b"k", 0, 0, None)]), 0, SALT)


def test_one_operation_adds_no_more_than_the_overhead() -> None:
    builder = RecordBuilder(1)
    builder.append_import(b"k" * KEY_BYTES_MAX, b"v" * 3_000_000, 1, 2)
    assert builder.bytes_staged <= KEY_BYTES_MAX + 3_000_000 + STAGE_OVERHEAD_BYTES
    before = builder.bytes_staged
    builder.append_import(b"k", b"v", 1, 2)
    assert builder.bytes_staged <= before + 2 + STAGE_OVERHEAD_BYTES
    assert len(empty_record(1, 2, 1, 3, SALT)) <= STAGE_OVERHEAD_BYTES


def test_a_large_turn_is_split_into_records() -> None:
    builder = RecordBuilder(7)
    for i in range(30):
        builder.append_put(b"%d" % i, bytes(100_000), 0)
    staged = builder.bytes_staged
    data = builder.seal(1, 6, 2, SALT)
    assert len(data) == staged
    records = read_all(data, next_lsn=7)
    assert [len(body.ops) for _, body in records] == [11, 11, 8]
    assert [header.first_lsn for header, _ in records] == [7, 18, 29]
    assert all(header.body_bytes < RECORD_SPLIT_BYTES + 100_100 for header, _ in records)


def test_a_batch_is_never_split() -> None:
    builder = RecordBuilder(1)
    builder.append_put(b"before", bytes(1000), 0)
    builder.begin_group()
    for i in range(40):
        builder.append_put(b"%d" % i, bytes(200_000), 0)
    builder.end_group()
    builder.append_put(b"after", b"", 0)
    records = read_all(builder.seal(1, 0, 2, SALT), next_lsn=1)
    assert [len(body.ops) for _, body in records] == [41, 1]
    builder.append_put(b"big", bytes(RECORD_SPLIT_BYTES), 0)
    builder.begin_group()
    builder.append_put(b"x", b"", 0)
    builder.append_put(b"y", b"", 0)
    builder.end_group()
    assert [len(body.ops) for _, body in read_all(builder.seal(1, 0, 2, SALT))] == [1, 2]


def test_groups_and_resets_are_refused_where_they_make_no_sense() -> None:
    builder = RecordBuilder(1)
    with pytest.raises(ValueError, match="no group"):
        builder.end_group()
    builder.begin_group()
    for call in (builder.begin_group, lambda: builder.seal(1, 0, 0, SALT), lambda: builder.reset(9)):
        with pytest.raises(ValueError, match=r"group|staged"):
            call()
    builder.append_delete(b"k")
    builder.end_group()
    with pytest.raises(ValueError, match="staged"):
        builder.reset(9)
    builder.seal(1, 0, 0, SALT)
    builder.reset(1 << 32)
    assert builder.append_delete(b"k") == 1 << 32


@pytest.mark.parametrize("key", [b"", b"k" * (KEY_BYTES_MAX + 1)])
def test_a_refused_operation_stages_nothing(key: bytes) -> None:
    builder = RecordBuilder(1)
    builder.append_delete(b"k")
    before = builder.bytes_staged
    with pytest.raises(ValueError, match="a key has"):
        builder.append_put(key, b"", 0)
    assert (builder.bytes_staged, builder.op_count, builder.next_lsn) == (before, 1, 2)
    assert len(read_all(builder.seal(1, 0, 0, SALT))) == 1


def test_term_and_empty_records() -> None:
    data = term_record(3, 1 << 32, 5, 99, SALT) + empty_record(3, (1 << 32) + 1, 1 << 32, 100, SALT, 2)
    (first, begun), (second, idle) = read_all(data, next_lsn=6)
    assert (first.flags, first.first_lsn, first.last_lsn, first.synced) == (1, 1 << 32, 1 << 32, 5)
    assert begun == RecordBody(3, 1 << 32, 99, [])
    assert (second.flags, second.first_lsn, second.last_lsn, second.synced) == (2, (1 << 32) + 1, 1 << 32, 1 << 32)
    assert idle == RecordBody(3, (1 << 32) + 1, 100, [])


def test_a_shipped_body_keeps_its_checksum() -> None:
    builder = RecordBuilder(5)
    builder.append_put(b"k", b"v", 0)
    data = builder.seal(1, 4, 9, SALT)
    ((header, _),) = read_all(data)
    body = data[RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + header.body_bytes]
    assert frame_body(body, 0, 5, 5, 4, SALT, header.body_checksum) == data
    flipped = body[:-1] + bytes([body[-1] ^ 1])
    framed = frame_body(flipped, 0, 5, 5, 4, SALT, header.body_checksum)
    scanner = RecordScanner(SALT, 0, len(framed), 0)
    scanner.feed(framed)
    assert scanner.next() != RECORD


BODY_OPS = [Op(1, b"key", 0, 0, b"value"), Op(2, b"gone", 0, 0, None), Op(3, b"moved", 77, 88, b"x" * 130)]


def sample_body() -> bytes:
    record = plain_record(RecordBody(4, 10, 1234, BODY_OPS), 9, SALT)
    size = int.from_bytes(record[:4], "little")
    return record[RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + size]


def test_a_body_cut_anywhere_is_refused() -> None:
    for _, cut in truncations(sample_body()):
        with pytest.raises(Corruption):
            decode_body(cut)


def test_a_flipped_body_is_refused_or_differs() -> None:
    """Without its checksum a body cannot tell every flip, but it must not read outside itself."""
    whole = decode_body(sample_body())
    for _, damaged in flips(sample_body(), tuple(range(1, 256))):
        try:
            assert decode_body(damaged) != whole
        except Corruption:
            continue


@pytest.mark.parametrize("tail", [b"\0", b"\x01", b"\x01\x01k\x01v"])
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(Corruption, match="follow"):
        decode_body(sample_body() + tail)


HEAD = struct.pack("<QQIQ", 1, 1, 1, 1)


@pytest.mark.parametrize(
    "op",
    [
        b"\x00\x01k\x01v",  # kinds that do not exist
        b"\x04\x01k\x01v",
        b"\x41\x01k\x01v",
        b"\x82\x01k" + bytes([1] * 8),  # a delete that expires
        b"\x81\x01k" + bytes(8) + b"\x01v",  # expiry of zero
        b"\x01\x00\x01v",  # empty key
        b"\x01\x81\x20" + b"k" * 4097 + b"\x00",  # key over the limit
        b"\x01\x81\x00k\x01v",  # lengths not in their shortest form
        b"\x01\x01k\x80\x00",
        b"\x01\x01k\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # 2^64 - 1
        b"\x01\x01k\xff\xff\xff\xff\x7f",  # 2^35 - 1
        b"\x01\x01k\xff\xff\xff\xff\x0f",  # 2^32 - 1
        b"\x01\x01k\x02v",
        b"\x01\xff\xff\xff\xff\x0fk",
    ],
)
def test_hostile_operations_are_refused(op: bytes) -> None:
    with pytest.raises(Corruption):
        decode_body(HEAD + op)


def test_a_hostile_count_is_refused_at_once() -> None:
    with pytest.raises(Corruption):
        decode_body(struct.pack("<QQIQ", 1, 1, 2**32 - 1, 1))


@given(st.binary(max_size=200))
def test_noise_is_refused_or_decoded(noise: bytes) -> None:
    for body in (noise, HEAD + noise):
        try:
            decode_body(body)
        except Corruption:
            continue


def test_a_header_verifies_only_whole_and_under_its_salt() -> None:
    data = plain_record(RecordBody(4, 10, 1234, BODY_OPS), 9, SALT)
    assert find_header(data, 0, SALT) == 0
    assert find_header(data, 0, SALT + 1) == -1  # FAULTS 4
    assert find_header(bytes(160) + data, 0, SALT) == 160
    assert find_header(bytes(160) + data, 161 + 15, SALT) == -1
    assert find_header(bytes(8) + data, 0, SALT) == -1
    for position, damaged in flips(data[:RECORD_HEADER_BYTES], tuple(1 << bit for bit in range(8))):
        assert find_header(damaged + data[RECORD_HEADER_BYTES:], 0, SALT) == -1, position
    for size, cut in truncations(data):
        assert find_header(cut, 0, SALT) == (0 if size >= RECORD_HEADER_BYTES else -1)
    with pytest.raises(ValueError, match="before the chunk"):
        find_header(data, -16, SALT)
