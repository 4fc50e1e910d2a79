"""The merge of row blobs against sorting; its limits; malformed rows."""

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.common.errors import Internal
from sherd.proxy.merge import Merge, Run

pytestmark = pytest.mark.core

KEYS = st.binary(min_size=1, max_size=6)


def blob(keys: list[bytes], keys_only: bool) -> bytes:
    rows = [msgpack.packb(key if keys_only else [key, key * 2]) for key in keys]
    return b"".join(struct.pack("<I", len(row)) + row for row in rows)


def run_of(keys: list[bytes], keys_only: bool = False) -> Run:
    run = Run(1, None, None)
    run.exhausted = True
    run.load(blob(keys, keys_only))
    return run


def unpack(rows: bytes) -> list[object]:
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(rows)
    return list(unpacker)


@given(
    st.dictionaries(KEYS, st.integers(0, 5), max_size=60),
    st.booleans(),
    st.booleans(),
    st.integers(1, 50),
    st.integers(1, 400),
)
def test_merge_is_sorting(owners: dict[bytes, int], reverse: bool, keys_only: bool, limit: int, bytes_max: int) -> None:
    merge = Merge(reverse, limit, bytes_max)
    for owner in range(6):
        keys = sorted((key for key in owners if owners[key] == owner), reverse=reverse)
        run = run_of(keys, keys_only)
        if run.has_row:
            merge.add(run)
    while not merge.full and merge.fill() is not None:
        pass
    expected: list[object] = []
    used = 0
    for key in sorted(owners, reverse=reverse):
        row = key if keys_only else [key, key * 2]
        size = len(msgpack.packb(row))
        if len(expected) == limit or (expected and used + size > bytes_max):
            break
        expected.append(row)
        used += size
    last = expected[-1] if expected else b""
    assert merge.count == len(expected)
    assert merge.last_key == (last[0] if isinstance(last, list) else last)
    assert unpack(merge.take()) == expected


def test_a_run_that_runs_dry_is_returned_and_goes_on() -> None:
    merge = Merge(False, 100, 10_000)
    left, right = run_of([b"a", b"c"]), run_of([b"b", b"d"])
    left.exhausted = False
    merge.add(left)
    merge.add(right)
    assert merge.fill() is left
    assert left.dry
    left.load(blob([b"e"], False))
    merge.add(left)
    assert merge.fill() is right
    assert not right.dry
    assert merge.fill() is left
    assert merge.fill() is None
    assert [row[0] for row in unpack(merge.take()) if isinstance(row, list)] == [b"a", b"b", b"c", b"d", b"e"]


def test_one_row_larger_than_the_page() -> None:
    merge = Merge(False, 100, 1)
    merge.add(run_of([b"a" * 100, b"b"]))
    assert merge.fill() is None
    assert merge.full
    assert merge.count == 1


@pytest.mark.parametrize("cut", range(1, 12))
def test_rows_cut_off(cut: int) -> None:
    rows = blob([b"abcdef"], False)
    with pytest.raises(Internal):
        Run(1, None, None).load(rows[:-cut])


@pytest.mark.parametrize("row", [b"\x01", b"\x92\x01\x02", b"\x92\xc4\xff", b"\xc1", b"\x92", b"\xc6\xff\xff\xff\xff"])
def test_rows_without_a_key(row: bytes) -> None:
    with pytest.raises(Internal):
        Run(1, None, None).load(struct.pack("<I", len(row)) + row)


def test_length_that_wraps() -> None:
    with pytest.raises(Internal):
        Run(1, None, None).load(b"\xff\xff\xff\xff\xa1a")
