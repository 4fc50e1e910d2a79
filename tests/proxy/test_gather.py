"""mget and batch over several shards: order, errors, PARTIAL, and moved keys."""

from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proxy_core import Rig

from sherd.common.limits import Limits
from sherd.common.topology.layout import Layout, Token
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import LayoutCounter, ShardId
from sherd.common.wire.encode import request
from sherd.proxy.bounds import Bounds

pytestmark = pytest.mark.core


@given(
    st.sampled_from(["hash", "range"]),
    st.dictionaries(st.binary(min_size=1, max_size=300), st.integers(-5, 5) | st.text(max_size=5), max_size=30),
    st.data(),
)
def test_mget_answers_in_the_order_asked(mode: str, stored: dict[bytes, object], data: st.DataObject) -> None:
    rig = Rig(mode, shards=4)
    for key, value in stored.items():
        rig.call("put", key, value)
    asked = data.draw(st.lists(st.sampled_from([*stored, b"absent", b"\xff"]), max_size=60))
    found = rig.call("mget", asked)
    expected = [stored.get(key) for key in asked]
    assert found == [value.encode() if isinstance(value, str) else value for value in expected]


def test_batch_answers_in_the_order_asked() -> None:
    rig = Rig(shards=4)
    keys = [f"k{number}" for number in range(50)]
    versions = rig.call("batch", [["put", key, number] for number, key in enumerate(keys)])
    assert isinstance(versions, list)
    for key, version in zip(keys, versions, strict=True):
        owner = rig.shards[rig.routes.map.owner(key.encode())]
        assert owner.values[key.encode()][1] == version
    mixed = [["delete", keys[0]], ["put", keys[1], 9], ["delete", "absent"], ["delete", keys[2]]]
    answered = rig.call("batch", mixed)
    assert isinstance(answered, list)
    assert (answered[0], answered[2], answered[3]) == (True, False, True)
    assert rig.call("mget", keys[:4]) == [None, 9, None, 3]


def test_nothing_asked() -> None:
    rig = Rig()
    assert rig.call("mget", []) == []
    assert rig.call("batch", []) == []


def test_one_shard_passes_through_unchanged() -> None:
    rig = Rig()
    key = rig.key_of(2)
    rig.call("put", key, 1)
    error = rig.call("batch", [["put", key, 5], ["put", key, 1, {"if_version": 99}]])
    assert error == ["error", [4, b"CONFLICT operation 1: version is 2", {b"version": 2, b"index": 1}]]
    assert rig.call("get", key) == 1


def test_partial_names_every_position() -> None:
    rig = Rig()
    first, second, third = (rig.key_of(shard) for shard in (1, 2, 3))
    rig.shards[3].mute = True
    session, sink = rig.session()
    operations = [["put", first, 1], ["put", second, 1, {"if_version": 3}], ["put", third, 1], ["delete", first],
                  ["put", second, 2]]  # fmt: skip
    session.feed(request(1, "batch", [operations]))
    rig.serve()
    assert sink.responses() == []
    rig.tick(6.0)
    [[_, _, error, result]] = sink.responses()
    assert isinstance(error, list)
    code, text, details = error
    assert (code, result) == (5, None)
    assert text.startswith(b"PARTIAL")
    conflict = b"CONFLICT operation 1: the key is at version 0; nothing of what went to its shard was done"
    assert details == {
        b"done": [0, 3],
        b"failed": [[1, 4, conflict], [4, 4, conflict]],
        b"unknown": [2],
    }
    assert session.inflight == 0


def test_a_conflict_is_named_by_its_place_in_the_request() -> None:
    """Each shard counts the operations of its own part."""
    rig = Rig()
    first, second, third = (rig.key_of(shard) for shard in (1, 2, 3))
    rig.call("put", third, 1)
    operations = [["put", first, 1], ["put", second, 1], ["put", third, 1], ["put", second, 2, {"if_version": 8}],
                  ["delete", first], ["delete", third, {"if_version": 9}], ["put", second, 3]]  # fmt: skip
    answer = rig.call("batch", operations)
    assert isinstance(answer, list)
    code, _, details = answer[1]
    assert (code, details[b"done"], details[b"unknown"]) == (5, [0, 4], [])
    told = {position: text.decode() for position, _, text in details[b"failed"]}
    assert sorted(told) == [1, 2, 3, 5, 6]
    for position, place, version in ((1, 3, 1), (3, 3, 1), (6, 3, 1), (2, 5, 2), (5, 5, 2)):
        assert told[position].startswith(f"CONFLICT operation {place}: the key is at version {version};")


def test_mget_passes_a_shard_error_on() -> None:
    rig = Rig()
    rig.shards[2].mute = True
    session, sink = rig.session()
    session.feed(request(1, "mget", [[rig.key_of(1), rig.key_of(2)], {"deadline_ms": 300}]))
    rig.serve()
    rig.tick(0.2)
    assert sink.responses() == []
    rig.tick(0.2)
    [[_, _, error, _]] = sink.responses()
    assert isinstance(error, list)
    assert error[0] == 22


def test_an_answer_over_the_limit_is_refused() -> None:
    rig = Rig(limits=Limits(value_bytes_max=30 * 1024 * 1024))
    big = b"x" * (25 * 1024 * 1024)
    keys = [rig.key_of(shard) for shard in (1, 2, 3)]
    for key in keys:
        rig.call("put", key, big)
    error = rig.call("mget", keys)
    assert isinstance(error, list)
    assert error[1][0] == 3


def test_options_reach_every_part() -> None:
    rig = Rig()
    seen: list[object] = []

    def mget(keys: list[bytes], options: object = None) -> bytes:
        seen.append(options)
        packed: bytes = msgpack.packb(keys)
        return packed

    for shard in rig.shards.values():
        shard.do_mget = mget  # type: ignore[method-assign]
    rig.call("mget", [rig.key_of(1), rig.key_of(2)], {"meta": True})
    assert seen == [{b"meta": True}, {b"meta": True}]


def test_a_refused_part_is_split_anew_when_its_keys_part() -> None:
    rig = Rig("range", shards=2)
    layout = rig.topology.layout
    low, high = rig.key_of(1, "a"), rig.key_of(2, "b")
    swapped = Layout(
        LayoutCounter(2),
        "range",
        tuple(replace(part, owner=ShardId(3 - part.owner)) for part in layout.partitions),
    )
    for shard in rig.shards.values():
        shard.token_map = TokenMap(swapped)
    session, sink = rig.session()
    session.feed(request(1, "batch", [[["put", low, 1], ["put", high, 2], ["put", low, 3]]]))
    rig.serve()
    assert sink.responses() == []
    assert rig.routes.refresh_wanted or rig.link(1).barred
    rig.routes.adopt(replace(rig.topology, version=2, layout=swapped))
    rig.serve()
    assert sink.responses() == [[1, 1, None, [1, 1, 2]]]
    assert rig.call("mget", [low, high]) == [3, 2]
    assert low in rig.shards[2].values


def test_a_part_whose_keys_go_to_several_shards_is_split_up() -> None:
    rig = Rig("range", shards=2)
    first, second = rig.key_of(1, "a"), rig.key_of(1, "b")
    other = rig.key_of(2)
    low, high = sorted((first, second))
    partition = rig.topology.layout.partitions[0]
    cut = Layout(
        LayoutCounter(2),
        "range",
        (
            partition,
            replace(partition, id=99, start=Token(high), owner=ShardId(2)),
            *rig.topology.layout.partitions[1:],
        ),
    )
    for shard in rig.shards.values():
        shard.token_map = TokenMap(cut)
    session, sink = rig.session()
    session.feed(request(1, "batch", [[["put", high, 1], ["put", other, 2], ["put", low, 3], ["put", high, 4]]]))
    rig.serve()
    rig.routes.adopt(replace(rig.topology, version=2, layout=cut))
    rig.serve()
    [[_, _, error, _]] = sink.responses()
    assert error is None
    assert rig.call("mget", [low, high, other]) == [3, 4, 2]
    assert set(rig.shards[1].values) == {low}


def test_answers_kept_for_the_rest_are_within_the_budget() -> None:
    rig = Rig(bounds=Bounds(total_bytes_max=1_000_000))
    fast, slow = rig.key_of(1), rig.key_of(2)
    rig.call("put", fast, b"x" * 100_000)
    session, sink = rig.session()
    for number in range(50):
        session.feed(request(number, "mget", [[fast, slow]]))
    rig.serve(1)
    assert rig.budget.bytes <= 1_000_000
    rig.serve()
    responses = sink.responses()
    assert len(responses) == 50
    kept = [found for found in responses if found[2] is None]
    assert 0 < len(kept) < 50
    assert {found[2][0] for found in responses if isinstance(found[2], list)} == {20}
    assert rig.budget.bytes == session.inflight_bytes == 0


def test_what_a_batch_did_is_told_when_there_is_no_room_for_answers() -> None:
    rig = Rig(bounds=Bounds(total_bytes_max=201_000))
    fast, slow = rig.key_of(1), rig.key_of(2)
    rig.call("put", fast, b"x" * 100_000)
    session, sink = rig.session()
    for number in range(5):
        session.feed(request(number, "mget", [[fast, slow]]))
    session.feed(request(5, "batch", [[["put", fast + b"2", 1], ["put", slow, 1]]]))
    rig.serve(1)
    rig.serve()
    errors = {found[1]: found[2] for found in sink.responses()}
    assert [errors[number] is None for number in range(5)] == [True, True, False, False, False]
    assert errors[5] is None
    assert rig.budget.bytes == 0
