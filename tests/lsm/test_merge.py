"""Merging: the newest entry of each key, in order, whichever way and however often one turns round."""

import contextlib
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.crash_disk import CrashDisk
from support.table_run import KEYS, check_cursor, entries, open_table, walk, write_table

from sherd.common.errors import Corruption
from sherd.shard.lsm.compaction import Survivors, join_ranges
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.merge import MergeCursor
from sherd.shard.lsm.pauses import PAUSE_BYTES, Pauses

pytestmark = pytest.mark.core

SOURCES = st.lists(st.dictionaries(KEYS, entries(), max_size=20), max_size=6)


def distinct(sources: list[dict[bytes, Entry]]) -> list[dict[bytes, Entry]]:
    """The same with an LSN of its own for each entry, as a log gives them."""
    lsn = 0
    found = []
    for source in sources:
        renumbered = {}
        for key, entry in source.items():
            lsn += 1
            renumbered[key] = Entry((lsn * 7919) % 100_003, entry.kind, entry.expiry_ms, entry.value)
        found.append(renumbered)
    return found


def cursors(sources: list[dict[bytes, Entry]]) -> list[Cursor]:
    """Tables and memtables by turns."""
    disk = CrashDisk()
    found: list[Cursor] = []
    for i, source in enumerate(sources):
        if source and i % 2 == 0:
            write_table(disk, f"/{i}", source)
            found.append(open_table(disk, f"/{i}", i).cursor())
        else:
            memtable = Memtable()
            for key, entry in source.items():
                memtable.insert(key, entry)
            found += memtable.cursors()
    return found


def newest(sources: list[dict[bytes, Entry]]) -> dict[bytes, Entry]:
    merged: dict[bytes, Entry] = {}
    for source in sources:
        for key, entry in source.items():
            if key not in merged or merged[key].lsn < entry.lsn:
                merged[key] = entry
    return merged


@given(SOURCES, st.lists(KEYS, max_size=4))
def test_a_merge_is_the_newest_of_everything(sources: list[dict[bytes, Entry]], others: list[bytes]) -> None:
    sources = distinct(sources)
    expected = newest(sources)
    check_cursor(MergeCursor(cursors(sources)), expected, [*expected, *others, b"", b"\xff" * 9])


MOVES = st.sampled_from(["next", "prev", "seek", "seek_before", "seek_first", "seek_last"])


@given(SOURCES, st.lists(st.tuples(MOVES, KEYS), max_size=30))
def test_any_walk_agrees_with_a_sorted_list(sources: list[dict[bytes, Entry]], walk: list[tuple[str, bytes]]) -> None:
    sources = distinct(sources)
    expected = newest(sources)
    keys = sorted(expected)
    cursor = MergeCursor(cursors(sources))
    at = -1
    for move, key in walk:
        if move in ("seek", "seek_before"):
            getattr(cursor, move)(key)
            below = sum(other < key for other in keys)
            at = below if move == "seek" else below - 1
        elif move == "seek_first":
            cursor.seek_first()
            at = 0
        elif move == "seek_last":
            cursor.seek_last()
            at = len(keys) - 1
        elif 0 <= at < len(keys):
            getattr(cursor, move)()
            at += 1 if move == "next" else -1
        else:
            getattr(cursor, move)()
        if not 0 <= at < len(keys):
            at = -1
        assert bool(cursor.valid) == (at >= 0)
        if at >= 0:
            assert (cursor.key, cursor.entry()) == (keys[at], expected[keys[at]])


def exhaust(move: Callable[[], None], cursor: Cursor) -> None:
    while cursor.valid:
        move()


def test_a_merge_that_met_damage_is_not_valid() -> None:
    disk = CrashDisk()
    contents = {b"%03d" % i: Entry(i + 1, KIND_PUT, 0, b"value") for i in range(60)}
    write_table(disk, "/a", contents)
    write_table(disk, "/b", {b"%03d+" % i: Entry(i + 100, KIND_PUT, 0, b"value") for i in range(60)})
    data = bytearray(disk.read("/a"))
    data[len(data) // 3] ^= 1
    disk.replace("/a", bytes(data))
    cursor = MergeCursor([open_table(disk, "/a", 1).cursor(), open_table(disk, "/b", 2).cursor()])
    cursor.seek_first()
    with pytest.raises(Corruption):
        exhaust(cursor.next, cursor)
    assert not cursor.valid
    cursor.seek(b"055+")
    assert cursor.key == b"055+"
    with pytest.raises(Corruption):
        exhaust(cursor.prev, cursor)
    assert not cursor.valid


@given(st.lists(st.tuples(KEYS, KEYS), max_size=8), st.lists(KEYS, max_size=10))
def test_joined_ranges_hold_the_same_keys(ranges: list[tuple[bytes, bytes]], keys: list[bytes]) -> None:
    ranges = [(min(pair), max(pair)) for pair in ranges]
    joined = join_ranges(ranges)
    for (_, largest), (smallest, _) in itertools.pairwise(joined):
        assert largest < smallest
    for key in keys:
        assert any(a <= key <= b for a, b in ranges) == any(a <= key <= b for a, b in joined)


NOW = 1000


@given(SOURCES, st.lists(st.tuples(KEYS, KEYS), max_size=4))
def test_survivors_are_what_still_matters(sources: list[dict[bytes, Entry]], ranges: list[tuple[bytes, bytes]]) -> None:
    sources = [
        {key: Entry(e.lsn, e.kind, e.expiry_ms % 2000, e.value) for key, e in source.items()}
        for source in distinct(sources)
    ]
    ranges = [(min(pair), max(pair)) for pair in ranges]
    expected = {}
    for key, entry in newest(sources).items():
        dead = entry.kind == KIND_DELETE or 0 < entry.expiry_ms <= NOW
        if not dead:
            expected[key] = entry
        elif any(a <= key <= b for a, b in ranges):
            expected[key] = Entry(entry.lsn, KIND_DELETE, 0, None)
    survivors = Survivors(MergeCursor(cursors(sources)), ranges, NOW, Pauses(lambda: None))
    assert walk(survivors) == sorted(expected.items())
    assert survivors.dropped == len(newest(sources)) - len(expected)


def test_expiry_is_at_the_very_millisecond() -> None:
    source = {b"%d" % i: Entry(i, KIND_PUT, NOW + i - 5, b"") for i in range(5, 8)} | {
        b"4": Entry(4, KIND_PUT, NOW - 1, b"")
    }
    memtable = Memtable()
    for key, entry in source.items():
        memtable.insert(key, entry)
    survivors = Survivors(MergeCursor(memtable.cursors()), (), NOW, Pauses(lambda: None))
    assert [key for key, _ in walk(survivors)] == [b"6", b"7"]


def test_pauses_come_as_input_is_read_even_while_nothing_survives() -> None:
    memtable = Memtable()
    for i in range(200):
        memtable.insert(b"%03d" % i, Entry(i + 1, KIND_PUT, 1, bytes(PAUSE_BYTES // 20)))
    pauses = []
    survivors = Survivors(MergeCursor(memtable.cursors()), (), NOW, Pauses(lambda: pauses.append(1)))
    survivors.seek_first()
    assert not survivors.valid
    assert survivors.dropped == 200
    assert 8 <= len(pauses) <= 12


def test_what_a_pause_raises_ends_the_walk() -> None:
    memtable = Memtable()
    for i in range(3):
        memtable.insert(b"%d" % i, Entry(i + 1, KIND_PUT, 0, bytes(PAUSE_BYTES)))

    def pause() -> None:
        raise KeyboardInterrupt

    survivors = Survivors(MergeCursor(memtable.cursors()), (), NOW, Pauses(pause))
    with contextlib.suppress(KeyboardInterrupt):
        survivors.seek_first()
    assert not survivors.valid
