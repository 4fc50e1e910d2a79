"""Layouts, shard states and the topology value: validation, JSON, ranges, lookups."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.common.errors import ConfigError, StoreCorrupt, StoreFormat
from sherd.common.topology.file import decode_topology, encode_topology
from sherd.common.topology.layout import Layout, Partition, Token, token_of
from sherd.common.topology.ranges import EVEN_PARTITIONS_MAX, even_boundaries, range_layout
from sherd.common.topology.ring import ring_layout
from sherd.common.topology.state import Move, ShardState, Topology
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import LayoutCounter, ShardId, Term

pytestmark = pytest.mark.core


def make_topology(layout=None):
    layout = layout or ring_layout("test", {ShardId(1): 1.0, ShardId(2): 1.0})
    return Topology(
        3,
        "test",
        layout,
        {
            id_: ShardState(id_, Term(7), "2", {"1": "127.0.0.1:1", "2": f"unix:/run/{id_}"}, ("1", "2"), ("1",))
            for id_ in layout.owners
        },
        (Move(1, (1, 2), ShardId(1), ShardId(2), "copy", Term(7), Term(7)),),
    )


def range_of(*starts):
    return tuple(Partition(id_, Token(start), ShardId(id_)) for id_, start in enumerate(starts, start=1))


@pytest.mark.parametrize(
    ("mode", "partitions"),
    [
        ("range", ()),
        ("range", range_of(b"a")),
        ("range", range_of(b"", b"b", b"a")),
        ("range", range_of(b"", b"a", b"a")),
        ("range", range_of(b"", b"x" * 5000)),
        ("hash", range_of(b"")),
        ("hash", range_of(bytes(8), b"short")),
        ("ring", range_of(b"")),
        ("range", (Partition(1, Token(b""), ShardId(1)), Partition(1, Token(b"a"), ShardId(1)))),
    ],
)
def test_a_layout_that_leaves_a_token_unclear_is_refused(mode, partitions):
    with pytest.raises(ConfigError):
        Layout(LayoutCounter(1), mode, partitions)


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 7, 16, 95, EVEN_PARTITIONS_MAX])
def test_even_boundaries_cut_printable_ascii_evenly(shards):
    boundaries = even_boundaries(shards)
    assert len(boundaries) == shards - 1
    assert boundaries == sorted(set(boundaries))
    assert all(len(key) == 2 and all(0x20 <= byte <= 0x7E for byte in key) for key in boundaries)


def test_two_shards_split_in_the_middle_of_printable_ascii():
    assert even_boundaries(2) == [b"OO"]


def test_split_keys_make_ranges_dealt_out_in_runs():
    layout = range_layout(2, [b"d", b"h", b"p"])
    assert [(part.start, part.owner) for part in layout.partitions] == [(b"", 1), (b"d", 1), (b"h", 2), (b"p", 2)]


@pytest.mark.parametrize(
    ("shards", "keys", "words"),
    [
        (3, [b"m"], "1 split keys make 2 ranges, fewer than the 3 shards"),
        (2, [b"m", b"a"], "ascend"),
        (2, [b"m", b"m"], "ascend"),
        (2, [b"", b"m"], "1 to 4096 bytes"),
        (0, [], "at least one shard"),
    ],
)
def test_bad_split_keys_are_refused_in_words(shards, keys, words):
    with pytest.raises(ConfigError, match=words):
        range_layout(shards, keys)


@given(st.lists(st.binary(min_size=1, max_size=3), unique=True, max_size=12), st.binary(max_size=4))
def test_range_lookup_agrees_with_the_layout(boundaries, key):
    layout = range_layout(1, sorted(boundaries))
    tokens = TokenMap(layout)
    index = tokens.locate(key)
    assert layout.partitions[index].start <= key
    assert index + 1 == len(layout.partitions) or key < layout.partitions[index + 1].start
    assert layout.find(key) is layout.partitions[index]


@given(st.binary(min_size=1, max_size=40))
def test_hash_lookup_agrees_with_the_layout(key):
    layout = ring_layout("lookup", {ShardId(1): 1.0, ShardId(2): 1.0, ShardId(3): 1.0})
    tokens = TokenMap(layout)
    assert tokens.owner(key) == layout.find(key).owner
    assert layout.partitions[tokens.locate(key)].start <= token_of("hash", key)


def test_lookup_at_the_ends_of_the_token_space():
    layout = Layout(
        LayoutCounter(1),
        "hash",
        tuple(
            Partition(id_, Token(start.to_bytes(8, "big")), ShardId(id_))
            for id_, start in enumerate((0, 1, 1 << 63, (1 << 64) - 1), start=1)
        ),
    )
    tokens = TokenMap(layout)
    for number in range(500):
        key = b"%d" % number
        assert tokens.owner(key) == (3 if token_of("hash", key)[0] & 0x80 else 2)


@given(
    st.lists(st.binary(min_size=1, max_size=2), unique=True, min_size=3, max_size=12),
    st.none() | st.binary(max_size=3),
    st.none() | st.binary(max_size=3),
)
def test_ranges_meet_exactly_the_partitions_that_overlap(boundaries, start, end):
    layout = range_layout(3, sorted(boundaries))
    tokens = TokenMap(layout)
    expected = []
    for index, partition in enumerate(layout.partitions):
        following = layout.partitions[index + 1].start if index + 1 < len(layout.partitions) else None
        low = max(partition.start, start or b"")
        ends = [bound for bound in (following, end) if bound is not None]
        if not ends or low < min(ends):
            expected.append(partition)
    assert tokens.partitions_of_range(start, end) == expected
    assert tokens.owners_of_range(start, end) == sorted({partition.owner for partition in expected})
    runs = tokens.runs_of_range(start, end)
    assert [shard for _, _, shard in runs] == tokens.owners_of_range(start, end)
    if runs:
        assert runs[0][0] == start
        assert runs[-1][1] == end
        assert all(left[1] == right[0] for left, right in pairwise(runs))


def test_every_shard_may_hold_keys_of_a_range_in_hash_mode():
    tokens = TokenMap(ring_layout("range", {ShardId(1): 1.0, ShardId(2): 1.0}))
    assert tokens.owners_of_range(b"a", b"b") == [1, 2] == tokens.owners()
    assert tokens.owners_of_range(b"b", b"b") == []
    with pytest.raises(ValueError, match="every shard"):
        tokens.runs_of_range(None, None)


def test_shares_are_not_told_in_range_mode():
    with pytest.raises(ConfigError):
        range_layout(2).token_shares()


@pytest.mark.parametrize("layout", [None, range_layout(2, [b"d", b"\xff\x00"])])
def test_a_topology_survives_json(layout):
    topology = make_topology(layout)
    assert Topology.from_json(json.loads(json.dumps(topology.to_json()))) == topology


def test_with_shard_makes_the_next_version():
    topology = make_topology()
    changed = topology.with_shard(ShardState(ShardId(2), Term(8)))
    assert changed.version == topology.version + 1
    assert changed.shards[ShardId(2)].term == 8
    assert changed.shards[ShardId(1)] == topology.shards[ShardId(1)]
    assert topology.shards[ShardId(2)].term == 7


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("layout"),
        lambda data: data["shards"].pop("2"),
        lambda data: data.update(version=0),
        lambda data: data.update(cluster=""),
        lambda data: data["layout"].update(mode="both"),
        lambda data: data["layout"].update(partitions=[[1, "zz", 1, 1]]),
        lambda data: data["moves"][0].update(phase="later"),
        lambda data: data["moves"][0].update(to=1),
        lambda data: data["moves"][0].update(partitions=[9999]),
        lambda data: data["shards"].update({"2": None}),
    ],
)
def test_a_malformed_topology_is_a_config_error(change):
    data = make_topology().to_json()
    change(data)
    with pytest.raises(ConfigError):
        Topology.from_json(data)


def test_the_file_detects_every_flipped_byte():  # FAULTS 2
    data = encode_topology(make_topology(range_layout(2)))
    assert decode_topology(data, "topology.json") == make_topology(range_layout(2))
    for position in range(len(data) - 1):
        flipped = bytearray(data)
        flipped[position] ^= 0x04
        with pytest.raises((StoreCorrupt, StoreFormat), match="topology"):
            decode_topology(bytes(flipped), "topology.json")


@pytest.mark.parametrize("size", [0, 1, 10, 200])
def test_a_truncated_file_is_corrupt(size):
    with pytest.raises(StoreCorrupt, match="some/topology"):
        decode_topology(encode_topology(make_topology())[:size], "some/topology.json")


def test_another_format_is_named():
    with pytest.raises(StoreFormat, match="format 2"):
        decode_topology(b'{"format": 2}', "topology.json")
