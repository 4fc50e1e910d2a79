"""The memtable against a sorted dictionary; its order is lazy, its accounting counts real memory."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.merge import MergeCursor

pytestmark = pytest.mark.core

KEYS = st.binary(min_size=1, max_size=3)


def walk(memtable: Memtable) -> list[tuple[bytes, int]]:
    cursor = MergeCursor(memtable.cursors())
    found = []
    cursor.seek_first()
    while cursor.valid:
        found.append((cursor.key, cursor.lsn))
        cursor.next()
    return found


def walk_back(memtable: Memtable, before: bytes) -> list[bytes]:
    cursor = MergeCursor(memtable.cursors())
    found = []
    cursor.seek_before(before)
    while cursor.valid:
        found.append(cursor.key)
        cursor.prev()
    return found


@given(st.lists(st.tuples(KEYS, st.booleans(), st.booleans())), KEYS)
def test_like_a_sorted_dictionary(ops: list[tuple[bytes, bool, bool]], bound: bytes) -> None:
    memtable = Memtable()
    model: dict[bytes, int] = {}
    for lsn, (key, deletes, look) in enumerate(ops, 1):
        memtable.insert(key, Entry(lsn, KIND_DELETE if deletes else KIND_PUT, 0, None if deletes else b"v"))
        model[key] = lsn
        if look:
            assert walk(memtable) == sorted(model.items())
    assert walk(memtable) == sorted(model.items())
    assert walk_back(memtable, bound) == sorted((key for key in model if key < bound), reverse=True)
    assert len(memtable) == len(model)
    assert memtable.tombstones == sum(1 for key in model if memtable.find(key).kind == KIND_DELETE)
    assert (memtable.first_lsn, memtable.last_lsn) == ((1, len(ops)) if ops else (0, 0))


def test_missing_key() -> None:
    assert Memtable().find(b"k") is None


def test_a_copy_stands_still() -> None:
    memtable = Memtable()
    memtable.insert(b"a", Entry(1, KIND_PUT, 0, b"1"))
    twin = memtable.copy()
    memtable.insert(b"a", Entry(2, KIND_PUT, 0, b"2"))
    memtable.insert(b"b", Entry(3, KIND_PUT, 0, b"3"))
    assert walk(twin) == [(b"a", 1)]
    assert walk(memtable) == [(b"a", 2), (b"b", 3)]


def test_runs_merge_so_that_there_are_few() -> None:
    memtable = Memtable()
    dice = random.Random(1)
    for lsn in range(1, 2001):
        memtable.insert(dice.randbytes(8), Entry(lsn, KIND_PUT, 0, b"v"))
        if lsn % 3 == 0:
            assert len(memtable.cursors()) <= 12
    assert [key for key, _ in walk(memtable)] == sorted(key for key, _ in walk(memtable))


@pytest.mark.parametrize("value_bytes", [0, 100, 3000])
def test_memory_is_counted_in_full(value_bytes: int) -> None:
    """``memory_bytes`` bounds what is really taken, and is not far above it."""
    dice = random.Random(2)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    memtable = Memtable()
    for lsn in range(1, 5001):
        memtable.insert(dice.randbytes(16), Entry(lsn, KIND_PUT, 0, bytes(value_bytes) + dice.randbytes(1)))
    memtable.cursors()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taken = after - before
    assert taken <= memtable.memory_bytes * 1.1
    assert memtable.memory_bytes <= taken * 1.6


def test_overwriting_does_not_add_up() -> None:
    memtable = Memtable()
    for lsn in range(1, 1000):
        memtable.insert(b"key", Entry(lsn, KIND_PUT, 0, bytes(100)))
    once = memtable.memory_bytes
    assert once < 500
    memtable.insert(b"key", Entry(1000, KIND_DELETE, 0, None))
    assert memtable.memory_bytes == once - 100


def test_forgetting_frees_bit_by_bit() -> None:
    memtable = Memtable()
    for number in range(100):
        memtable.insert(b"k%03d" % number, Entry(number + 1, KIND_PUT, 0, b"v"))
        if number % 30 == 0:
            memtable.cursors()
    assert [memtable.forget(40), len(memtable)] == [True, 60]
    assert [memtable.forget(60), len(memtable)] == [False, 0]
    assert memtable.forget(1) is False
