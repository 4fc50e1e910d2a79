"""Scans and counts over several shards against a sorted dict: pages, cursors, directions, bounds, moves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proxy_core import Rig

from sherd.common.errors import Corruption, NotLeader
from sherd.common.topology.layout import Layout
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import LayoutCounter, ShardId
from sherd.common.wire.encode import request
from sherd.proxy.bounds import Bounds

pytestmark = pytest.mark.core

KEYS = st.binary(min_size=1, max_size=3)
BOUNDS = st.none() | st.binary(max_size=3)


def filled(mode: str, keys: list[bytes], shards: int = 4) -> Rig:
    rig = Rig(mode, shards)
    if keys:
        rig.call("batch", [["put", key, key * 3] for key in keys])
    return rig


def page_of(rig: Rig, *params: object) -> tuple[list[object], bytes | None]:
    found = rig.call("scan", *params)
    assert isinstance(found, list)
    rows, cursor = found
    assert rows != "error", found
    return rows, cursor


def expected_rows(
    keys: list[bytes], start: bytes | None, end: bytes | None, reverse: bool, keys_only: bool
) -> list[object]:
    inside = [key for key in sorted(keys) if (start is None or key >= start) and (end is None or key < end)]
    if reverse:
        inside.reverse()
    return [key if keys_only else [key, key * 3] for key in inside]


@given(
    st.sampled_from(["hash", "range"]),
    st.lists(KEYS, unique=True, max_size=60),
    BOUNDS,
    BOUNDS,
    st.booleans(),
    st.booleans(),
    st.integers(1, 30),
    st.integers(1, 200) | st.just(4 << 20),
    st.sampled_from([1, 3, 10_000]),
)
def test_pages_add_up_to_the_range(
    mode: str,
    keys: list[bytes],
    start: bytes | None,
    end: bytes | None,
    reverse: bool,
    keys_only: bool,
    limit: int,
    max_bytes: int,
    slice_rows: int,
) -> None:
    rig = filled(mode, keys)
    for shard in rig.shards.values():
        shard.slice_rows = slice_rows
    options: dict[str, object] = {"limit": limit, "max_bytes": max_bytes, "keys_only": keys_only, "reverse": reverse}
    expected = expected_rows(keys, start, end, reverse, keys_only)
    found: list[object] = []
    rows, cursor = page_of(rig, start, end, options)
    while True:
        assert len(rows) <= limit
        assert rows or cursor is None
        found += rows
        if cursor is None:
            break
        rows, cursor = page_of(rig, None, None, {"limit": limit, "max_bytes": max_bytes, "cursor": cursor})
    assert found == expected
    assert rig.call("count", start, end) == len(expected)
    assert all(link.idle for link in rig.routes.links)


def test_exhausted_exactly_at_the_limit_gives_no_cursor() -> None:
    rig = filled("hash", [b"%c" % code for code in range(40, 60)])
    rows, cursor = page_of(rig, None, None, {"limit": 20})
    assert (len(rows), cursor) == (20, None)
    rows, cursor = page_of(rig, None, None, {"limit": 19})
    assert len(rows) == 19
    assert cursor is not None


def test_a_page_is_full_to_its_limit_when_one_shard_has_most_rows() -> None:
    rig = Rig(shards=4)
    token_map = rig.routes.map
    keys = [b"k%06d" % number for number in range(4000)]
    keys = [key for key in keys if token_map.owner(key) == 1][:500] + [
        key for key in keys if token_map.owner(key) != 1
    ][:3]
    rig.call("batch", [["put", key, key * 3] for key in keys])
    rows, cursor = page_of(rig, None, None, {"limit": 400})
    assert rows == expected_rows(keys, None, None, False, False)[:400]
    assert cursor is not None


def test_first_requests_ask_for_a_share_and_not_for_the_whole() -> None:
    rig = filled("hash", [b"k%05d" % number for number in range(4000)])
    asked: list[int] = []
    for shard in rig.shards.values():
        original = shard.do_fetch

        def fetch(start, end, options, original=original):  # type: ignore[no-untyped-def]
            asked.append(options[b"limit"])
            return original(start, end, options)

        shard.do_fetch = fetch  # type: ignore[method-assign]
    rows, _ = page_of(rig, None, None, {"limit": 1000})
    assert len(rows) == 1000
    assert asked[:4] == [306] * 4
    assert len(asked) <= 5


def test_range_mode_asks_only_shards_that_can_hold_the_range() -> None:
    rig = filled("range", [b"%c1" % code for code in range(33, 126)])
    for shard in rig.shards.values():
        shard.seen.clear()
    start = b"!"
    page_of(rig, start, b"$", {})
    assert [bool(rig.shards[shard].seen) for shard in (1, 2, 3, 4)] == [True, False, False, False]
    rows, cursor = page_of(rig, None, None, {"limit": 5})
    assert len(rows) == 5
    assert not rig.shards[4].seen
    assert cursor is not None


def test_meta_and_keys_only() -> None:
    rig = filled("hash", [b"a"])
    assert page_of(rig, None, None, {"meta": True}) == ([[b"a", [b"aaa", 1, None]]], None)
    assert page_of(rig, None, None, {"meta": True, "keys_only": True}) == ([b"a"], None)


def test_the_longest_key_does_not_break_paging() -> None:
    keys = [b"k" * 4096, b"k" * 4095 + b"l", b"l"]
    rig = filled("hash", keys)
    rows, cursor = page_of(rig, None, None, {"limit": 1})
    assert rows == [[keys[0], keys[0] * 3]]
    rows, cursor = page_of(rig, None, None, {"limit": 1, "cursor": cursor})
    assert rows == [[keys[1], keys[1] * 3]]


@pytest.mark.parametrize("method", ["scan", "count"])
def test_errors_of_a_shard_end_it(method: str) -> None:
    rig = filled("hash", [b"a", b"b", b"c"])
    rig.shards[2].refusing = Corruption("block 5")
    assert rig.call(method, None, None) == ["error", [40, b"CORRUPTION block 5", None]]
    rig.shards[2].refusing = None
    rig.shards[3].mute = True
    session, sink = rig.session()
    session.feed(request(1, method, [None, None, {"deadline_ms": 1000}]))
    rig.serve()
    rig.tick(1.1)
    [[_, _, error, _]] = sink.responses()
    assert isinstance(error, list)
    assert error[0] == 22
    assert session.inflight == 0


@pytest.mark.parametrize("method", ["scan", "count"])
def test_a_leaderless_shard_is_waited_for_and_then_unavailable(method: str) -> None:
    rig = Rig(shards=2, bounds=Bounds(failover_hold_s=1.0))
    rig.call("put", rig.key_of(2), 1)
    rig.shards[2].refusing = NotLeader("a follower")
    session, sink = rig.session()
    session.feed(request(1, method, [None, None]) + request(2, method, [None, None]))
    for _ in range(5):
        rig.tick(0.1)
        rig.serve()
    assert sink.responses() == []
    rig.shards[2].refusing = None
    rig.tick(0.1)
    rig.serve()
    assert len(sink.responses()) == 2
    rig.shards[2].refusing = NotLeader("a follower")
    session.feed(request(3, method, [None, None]))
    for _ in range(13):
        rig.tick(0.1)
        rig.serve()
    [[_, msgid, error, _]] = sink.responses()
    assert isinstance(error, list)
    assert (msgid, error[0]) == (3, 21)


@pytest.mark.parametrize("mode", ["hash", "range"])
@pytest.mark.parametrize("method", ["scan", "count"])
def test_answers_of_another_layout_are_not_mixed(mode: str, method: str) -> None:
    keys = [b"%c%d" % (33 + number % 90, number) for number in range(300)]
    rig = filled(mode, keys, shards=3)
    layout = rig.topology.layout
    rotated = Layout(
        LayoutCounter(2),
        layout.mode,
        tuple(replace(part, owner=ShardId(part.owner % 3 + 1)) for part in layout.partitions),
    )
    session, sink = rig.session()
    session.feed(request(1, method, [None, None]))
    rig.flush()
    rig.serve(1)
    everything = {key: value for shard in rig.shards.values() for key, value in shard.values.items()}
    for shard in rig.shards.values():
        shard.token_map = TokenMap(rotated)
        shard.values = dict(everything)
    rig.serve()
    assert sink.responses() == []
    assert rig.routes.refresh_wanted
    rig.routes.adopt(replace(rig.topology, version=2, layout=rotated))
    rig.tick(0.05)
    rig.serve()
    [[_, _, error, result]] = sink.responses()
    assert error is None
    assert isinstance(result, list if method == "scan" else int)
    if isinstance(result, list):
        assert result == [expected_rows(keys, None, None, False, False), None]
    else:
        assert result == 300


def test_many_large_pages_stall_their_client() -> None:
    rig = filled("hash", [b"a"])
    session, sink = rig.session()
    session.feed(b"".join(request(number, "scan", [None, None, {"max_bytes": 4 << 20}]) for number in range(100)))
    rig.flush()
    assert session.inflight == 16
    rig.serve()
    assert len(sink.responses()) == 100
    assert rig.budget.bytes == session.inflight_bytes == 0
