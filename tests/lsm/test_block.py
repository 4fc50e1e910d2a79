"""Blocks: what goes in comes out, what is not a block is refused, and no damage to a stored one passes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.table_run import KEYS, entries

from sherd.common.errors import ConfigError, Corruption
from sherd.shard.lsm.block import Block
from sherd.shard.lsm.block_builder import BlockBuilder
from sherd.shard.lsm.block_frame import BlockDecoder, BlockEncoder
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import BLOCK_TRAILER_BYTES, KIND_DELETE, KIND_PUT

pytestmark = pytest.mark.core

CONTENTS = st.dictionaries(KEYS, entries(), max_size=30)
COMPRESSIONS = ("none", "lz4", "zstd", "zstd:1")


def build(contents: dict[bytes, Entry]) -> bytes:
    builder = BlockBuilder()
    for key in sorted(contents):
        entry = contents[key]
        builder.add(key, entry.lsn, entry.kind, entry.expiry_ms, entry.value)
    assert builder.count == len(contents)
    size = builder.size_bytes()
    data = builder.finish()
    assert len(data) == size
    return data


def read(block: Block) -> dict[bytes, Entry]:
    cursor = Cursor()
    found = {}
    for i in range(block.count):
        block.show(i, cursor)
        found[cursor.key] = cursor.entry()
    return found


@given(CONTENTS, st.lists(KEYS, max_size=5))
def test_a_block_holds_what_was_added(contents: dict[bytes, Entry], others: list[bytes]) -> None:
    block = Block(build(contents))
    assert read(block) == contents
    keys = sorted(contents)
    for key in [*keys, *others, b"", b"\xff" * 9]:
        assert block.search(key) == sum(other < key for other in keys)
        assert block.find(key) == contents.get(key)


ALIKE = st.builds(
    lambda shared, tails: {shared + tail: Entry(1, KIND_DELETE, 0, None) for tail in tails if shared + tail},
    st.sampled_from([b"", b"\0", b"user:", b"a" * 40]),
    st.sets(st.binary(max_size=3) | st.builds(bytes.__mul__, st.sampled_from([b"\0", b"b"]), st.integers(0, 20))),
)


@given(ALIKE, st.lists(st.binary(max_size=12), max_size=5))
def test_a_search_finds_the_same_when_repeated(contents: dict[bytes, Entry], others: list[bytes]) -> None:
    block = Block(build(contents))
    keys = sorted(contents)
    cuts = [key[:cut] for key in keys for cut in (1, len(key) // 2, len(key) - 1)]
    for key in [*keys, *cuts, *(key + b"\0" for key in keys), *others]:
        expected = sum(other < key for other in keys)
        assert Block(block.data).search(key) == expected, "the first search"
        assert block.search(key) == expected, "by the heads of keys"


@given(CONTENTS, CONTENTS)
def test_a_builder_is_empty_after_finish(first: dict[bytes, Entry], second: dict[bytes, Entry]) -> None:
    builder = BlockBuilder()
    for contents in (first, second):
        for key in sorted(contents):
            entry = contents[key]
            builder.add(key, entry.lsn, entry.kind, entry.expiry_ms, entry.value)
        assert builder.finish() == build(contents)


def test_lengths_around_the_edges_of_a_varint() -> None:
    for size in (0, 1, 127, 128, 16383, 16384, (1 << 21) - 1, 1 << 21):
        contents = {b"k" * min(size + 1, 4096): Entry(size + 1, KIND_PUT, 0, b"v" * size)}
        assert read(Block(build(contents))) == contents


def test_a_block_takes_a_value_of_64_mib() -> None:
    value = bytes(64 << 20)
    data = build({b"key": Entry(1, KIND_PUT, 0, value)})
    found = Block(data).find(b"key")
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize(
    ("key", "kind", "expiry_ms"),
    [(b"", 1, 0), (b"k" * 4097, 1, 0), (b"k", 0, 0), (b"k", 4, 0), (b"k", 0x81, 0), (b"k", KIND_DELETE, 5)],
)
def test_a_builder_refuses_what_is_no_entry(key: bytes, kind: int, expiry_ms: int) -> None:
    builder = BlockBuilder()
    with pytest.raises(ValueError, match=r"key of|kind|tombstone"):
        builder.add(key, 1, kind, expiry_ms, b"")
    assert builder.count == 0


SAMPLE = build(
    {
        b"apple": Entry(2**40, KIND_PUT, 0, b"red"),
        b"fig": Entry(7, KIND_PUT, 1_700_000_000_000, b""),
        b"pear" * 40: Entry(9, KIND_DELETE, 0, None),
        b"plum": Entry(10, KIND_PUT, 0, b"x" * 200),
    }
)


def test_a_block_cut_anywhere_is_refused() -> None:
    for size in range(len(SAMPLE)):
        with pytest.raises(ValueError, match=r"block|entry|entries"):
            Block(SAMPLE[:size])


@pytest.mark.parametrize("byte", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_any_byte_replaced_gives_a_block_that_stays_in_its_bounds_or_an_error(byte: int) -> None:
    for at in range(len(SAMPLE)):
        data = bytearray(SAMPLE)
        data[at] = byte
        try:
            block = Block(bytes(data))
        except ValueError:
            continue
        for key, entry in read(block).items():
            assert len(key) <= len(SAMPLE)
            assert entry.value is None or len(entry.value) <= len(SAMPLE)
        block.search(b"fig")
        block.find(b"plum")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_block_or_an_error(data: bytes) -> None:
    try:
        block = Block(data)
    except ValueError:
        return
    read(block)
    block.find(b"key")


def test_entries_outside_the_block_are_refused() -> None:
    block = Block(SAMPLE)
    for i in (-1, block.count):
        with pytest.raises(IndexError):
            block.show(i, Cursor())


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("raw", [b"", b"x", bytes(5000), bytes(range(256)) * 3], ids=["empty", "one", "zeros", "mixed"])
def test_a_stored_block_comes_back(compression: str, raw: bytes) -> None:
    data = BlockEncoder(compression).encode(raw, 7, 1000)
    assert BlockDecoder().decode(data, len(raw), 7, 1000, "f") == raw
    assert len(data) <= len(raw) + BLOCK_TRAILER_BYTES


def test_compression_that_does_not_pay_is_tried_ever_more_rarely() -> None:
    encoder = BlockEncoder("lz4")
    noise, zeros = random.Random(1).randbytes(4096), bytes(4096)

    def small() -> list[bool]:
        return [len(encoder.encode(zeros, 7, 0)) < 100 for _ in range(10)]

    assert all(small())
    encoder.encode(noise, 7, 0)
    assert small() == [False] + 9 * [True]
    for _ in range(100):
        assert len(encoder.encode(noise, 7, 0)) > len(noise)
    found = small()
    assert found == sorted(found), "once it pays it is tried on every block"
    assert found[-1]
    assert all(small())


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_no_damage_to_a_stored_block_passes(compression: str) -> None:  # FAULTS 13
    raw = bytes(range(64)) * 8
    data = BlockEncoder(compression).encode(raw, 7, 1000)
    decoder = BlockDecoder()
    for at in range(len(data)):
        for mask in (0x01, 0x80):
            flipped = bytearray(data)
            flipped[at] ^= mask
            with pytest.raises(Corruption, match=r"file.*1000"):
                decoder.decode(bytes(flipped), len(raw), 7, 1000, "file")
        with pytest.raises(Corruption):
            decoder.decode(data[:at], len(raw), 7, 1000, "file")
    for salt, offset in ((8, 1000), (7, 1016)):
        with pytest.raises(Corruption, match="checksum"):
            decoder.decode(data, len(raw), salt, offset, "file")
    for size in (0, 1, len(raw) - 1, len(raw) + 1):
        with pytest.raises(Corruption):
            decoder.decode(data, size, 7, 1000, "file")


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_bomb_takes_no_more_memory_than_the_index_allows(compression: str) -> None:
    data = BlockEncoder(compression).encode(bytes(1 << 28), 7, 0)
    assert len(data) < 1 << 21
    with pytest.raises(Corruption):
        BlockDecoder().decode(data, 100, 7, 0, "file")


def test_an_unknown_compression_is_a_setting_error() -> None:
    with pytest.raises(ConfigError):
        BlockEncoder("gzip")
