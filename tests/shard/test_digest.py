"""Digests tell any two different contents apart, say in which range, and see nothing else of how a store holds them."""

import struct
from bisect import bisect_right
from typing import NamedTuple

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from support.crash_disk import CrashDisk
from support.engine_run import open_engine, run_jobs

from sherd.common.clock import ManualClock
from sherd.common.errors import ConfigError
from sherd.common.topology.layout import Mode, token_of
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.merge import MergeCursor
from sherd.shard.replication.digest import HASH_RANGES, Digest, hash_range_starts, token_ranges

pytestmark = pytest.mark.core

NOW_MS = 1_000_000
RANGE_STARTS = [b"", b"b", b"key", b"key5", b"x"]


class Held(NamedTuple):
    """What a key holds; a value of None is a tombstone."""

    value: bytes | None
    version: int
    expiry_ms: int = 0


Store = dict[bytes, Held]


def starts_of(mode: Mode) -> list[bytes]:
    return hash_range_starts() if mode == "hash" else RANGE_STARTS


def digest_of(held: Store, mode: Mode = "hash", step: int = 1 << 30) -> list[tuple[int, int]]:
    memtable = Memtable()
    for key, one in sorted(held.items(), key=lambda item: item[1].version):
        kind = KIND_DELETE if one.value is None else KIND_PUT
        memtable.insert(key, Entry(one.version, kind, one.expiry_ms, one.value))
    digest = Digest(MergeCursor(memtable.cursors()), token_ranges(mode, starts_of(mode)), NOW_MS)
    while not digest.done:
        digest.step(step, 1 << 30)
    assert digest.examined == len(held)
    return digest.rows()


def expected(held: Store, mode: Mode) -> list[tuple[int, int]]:
    """The same by the definition, from a dict."""
    starts = starts_of(mode)
    rows = [[0, 0] for _ in starts]
    for key, one in held.items():
        if one.value is None or 0 < one.expiry_ms <= NOW_MS:
            continue
        row = rows[bisect_right(starts, token_of(mode, key)) - 1]
        head = struct.pack("<QQI", one.version, one.expiry_ms, len(key))
        row[0] += 1
        row[1] = (row[1] + xxhash.xxh3_64_intdigest(head + key + one.value)) % 2**64
    return [(count, total) for count, total in rows]


BASE: Store = {b"key%d" % number: Held(b"v%d" % number, number + 1) for number in range(100)}
KEY = b"key42"
DIFFERENCES: dict[str, Store] = {
    "value": {**BASE, KEY: Held(b"other", 43)},
    "value, empty": {**BASE, KEY: Held(b"", 43)},
    "version": {**BASE, KEY: Held(b"v42", 200)},
    "missing": {key: one for key, one in BASE.items() if key != KEY},
    "deleted": {**BASE, KEY: Held(None, 200)},
    "expiry": {**BASE, KEY: Held(b"v42", 43, NOW_MS + 1)},
    "expired": {**BASE, KEY: Held(b"v42", 43, NOW_MS)},
}


@pytest.mark.parametrize("mode", ["hash", "range"])
@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_single_difference_shows_in_its_range_and_nowhere_else(difference: str, mode: Mode) -> None:
    ours, theirs = digest_of(BASE, mode), digest_of(DIFFERENCES[difference], mode)
    differing = [at for at, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    assert differing == [bisect_right(starts_of(mode), token_of(mode, KEY)) - 1]
    assert len(ours) == (HASH_RANGES if mode == "hash" else len(RANGE_STARTS))


def test_two_keys_that_swap_their_values_differ() -> None:
    swapped = {**BASE, b"key1": Held(b"v2", 2), b"key2": Held(b"v1", 3)}
    assert digest_of(swapped, "range") != digest_of(BASE, "range")
    moved = {b"a": Held(b"bc", 1)}, {b"ab": Held(b"c", 1)}
    assert digest_of(moved[0], "range") != digest_of(moved[1], "range")


def test_what_is_not_live_counts_for_nothing() -> None:
    held = {**BASE, b"gone": Held(None, 500), b"old": Held(b"1", 501, NOW_MS)}
    assert digest_of(held) == digest_of(BASE)


held_values = st.builds(
    Held,
    st.one_of(st.none(), st.binary(max_size=20)),
    st.just(0),
    st.sampled_from([0, 0, 1, NOW_MS - 1, NOW_MS, NOW_MS + 1, 2**63]),
)


@pytest.mark.parametrize("mode", ["hash", "range"])
@settings(max_examples=100)
@given(
    entries=st.dictionaries(st.binary(min_size=1, max_size=8), held_values, max_size=30),
    step=st.integers(1, 40),
)
def test_it_is_the_sum_by_the_definition_however_it_is_sliced(entries: Store, step: int, mode: Mode) -> None:
    held = {key: one._replace(version=number) for number, (key, one) in enumerate(entries.items(), 1)}
    assert digest_of(held, mode, step) == expected(held, mode)


def whole_digest(engine: Engine, time_ms: int) -> list[tuple[int, int]]:
    with engine.snapshot() as snapshot:
        digest = Digest(snapshot.cursor(), token_ranges("hash", hash_range_starts()), time_ms)
        digest.step(1 << 30, 1 << 40)
        return digest.rows()


def test_flushes_and_compactions_change_nothing() -> None:
    disk, clock = CrashDisk(), ManualClock()
    engine = open_engine(disk, clock=clock)
    for number in range(200):
        engine.put(b"key%03d" % (number % 80), b"\xa5value", engine.now_ms() + 5000 if number % 7 == 0 else 0)
        if number % 5 == 0:
            engine.delete(b"key%03d" % (number % 80))
    clock.advance(6)
    engine.put(b"after", b"\x01")
    engine.commit()
    time_ms = engine.now_ms()
    before = whole_digest(engine, time_ms)
    engine.request_flush()
    run_jobs(engine, disk)
    assert whole_digest(engine, time_ms) == before
    engine.request_compact()
    run_jobs(engine, disk)
    assert engine.status()["tables"]
    assert whole_digest(engine, time_ms) == before  # tombstones and expired entries are gone by now
    engine.close()


def test_a_slice_is_bounded_by_bytes_too() -> None:
    engine = open_engine(CrashDisk())
    for number in range(10):
        engine.put(b"key%d" % number, bytes(1000))
    with engine.snapshot() as snapshot:
        digest = Digest(snapshot.cursor(), token_ranges("range", [b""]), 0)
        digest.step(1 << 30, 2500)
        assert (digest.examined, digest.done) == (3, False)
    engine.close()


@pytest.mark.parametrize("starts", [[], [b"a"], [b"", b""], [b"", b"b", b"a"]])
def test_ranges_have_to_cut_the_whole_space(starts: list[bytes]) -> None:
    with pytest.raises(ConfigError):
        token_ranges("range", starts)
