"""Reads that say how old their answer may be: a follower in sync answers them, or else the leader, always somebody."""

from dataclasses import replace

import pytest
from support.proxy_core import Rig

from sherd.common.errors import NotLeader, Unavailable
from sherd.common.types import ShardId
from sherd.common.wire.encode import request
from sherd.proxy.bounds import Bounds
from sherd.proxy.follower_links import READ, REST_S

pytestmark = pytest.mark.core

STALE = {"stale_ms": 500}


def opened(**settings: object) -> Rig:
    """A proxy with two followers of each shard, its links to them open, and nothing seen by anybody yet."""
    rig = Rig(followers=2, **settings)  # type: ignore[arg-type]
    for shard in rig.shards:
        rig.call("get", rig.key_of(shard), STALE)
    rig.call("count", None, None, STALE)
    rig.open_followers()
    for server in (*rig.shards.values(), *rig.followers.values()):
        server.seen.clear()
    return rig


def seen(rig: Rig, shard: int) -> list[int]:
    """How many requests a shard's leader and its followers have executed."""
    return [len(rig.shards[shard].seen), *(len(rig.followers[shard, name].seen) for name in ("2", "3"))]


def test_no_link_to_a_follower_is_made_before_it_is_wanted() -> None:
    rig = Rig(followers=2)
    key = rig.key_of(1)
    rig.call("put", key, 1)
    rig.call("get", key)
    rig.call("scan", None, None)
    assert rig.routes.followers.links == []
    assert rig.call("get", key, STALE) == 1  # of the leader, for the links are only made now
    assert {(link.shard, link.replica, link.purpose) for link in rig.routes.followers.links} == {
        (1, "2", READ), (1, "3", READ)
    }  # fmt: skip
    assert all(link in rig.routes.links for link in rig.routes.followers.links)


def test_followers_take_turns() -> None:
    rig = opened()
    key = rig.key_of(1)
    rig.call("put", key, 1)
    for _ in range(6):
        assert rig.call("get", key, STALE) == 1
    assert rig.call("get", key) == 1
    assert seen(rig, 1) == [2, 3, 3]


def test_every_read_method_goes_there() -> None:
    rig = opened()
    keys = [rig.key_of(shard, "m") for shard in rig.shards]
    rig.call("batch", [["put", key, 1] for key in keys])
    assert rig.call("mget", keys, STALE) == [1, 1, 1]
    assert rig.call("mget", keys[:1], STALE) == [1]
    assert rig.call("count", None, None, STALE) == 3
    rows = rig.call("scan", None, None, {**STALE, "limit": 2})
    assert isinstance(rows, list)
    assert [row[1] for row in rows[0]] == [1, 1]
    for shard in rig.shards:
        assert [name for name, _ in rig.shards[shard].seen] == ["batch"]


def test_what_has_to_be_seen_is_one_shards() -> None:
    rig = opened()
    keys = [rig.key_of(shard, "m") for shard in rig.shards]
    assert rig.call("mget", keys, {"at": [2, 1, 1]}) == [None] * 3
    assert [sum(seen(rig, shard)[1:]) for shard in rig.shards] == [0, 1, 0]
    assert rig.call("count", None, None, {"at": [3, 1, 1]}) == 0
    assert [sum(seen(rig, shard)[1:]) for shard in rig.shards] == [0, 1, 1]


@pytest.mark.parametrize("error", [NotLeader("too old"), Unavailable("stopping")])
def test_who_is_refused_asks_the_leader(error: Exception) -> None:
    rig = opened()
    for follower in rig.followers.values():
        follower.refusing = error  # type: ignore[assignment]
    keys = [rig.key_of(shard, "m") for shard in rig.shards]
    rig.call("batch", [["put", key, 7] for key in keys])
    assert rig.call("get", keys[0], STALE) == 7
    assert rig.call("mget", keys, STALE) == [7, 7, 7]
    assert rig.call("count", None, None, STALE) == 3
    assert rig.routes.busy is False


def test_a_silent_follower_costs_little_and_then_rests() -> None:
    bounds = Bounds(follower_timeout_s=0.2)
    rig = opened(bounds=bounds)
    for follower in rig.followers.values():
        follower.mute = True
    key = rig.key_of(1)
    session, sink = rig.session()
    session.feed(request(1, "get", [key, STALE]))
    rig.serve()
    rig.tick(0.1)
    assert sink.responses() == []
    rig.tick(0.11)
    rig.serve()
    assert [msgid for _, msgid, _, _ in sink.responses()] == [1]
    session.feed(request(2, "get", [key, STALE]))
    rig.serve()
    assert sink.responses() == []  # the other one was asked
    rig.tick(0.21)
    rig.serve()
    assert [msgid for _, msgid, _, _ in sink.responses()] == [2]
    assert rig.call("get", key, STALE) is None  # both rest
    assert seen(rig, 1)[0] == 3
    rig.tick(REST_S)
    for follower in rig.followers.values():
        follower.mute = False
    before = seen(rig, 1)[0]
    assert rig.call("get", key, STALE) is None
    assert seen(rig, 1)[0] == before


def test_a_broken_link_to_a_follower_ends_at_the_leader() -> None:
    rig = opened()
    key = rig.key_of(1)
    session, sink = rig.session()
    session.feed(request(1, "get", [key, STALE]))
    rig.flush()
    for link in rig.routes.followers.links:
        rig.lose(link)
    rig.tick(rig.bounds.follower_timeout_s + 0.01)
    rig.serve()
    assert [msgid for _, msgid, _, _ in sink.responses()] == [1]
    assert seen(rig, 1)[0] == 1


def test_only_who_is_in_sync_is_asked() -> None:
    rig = opened()
    key = rig.key_of(1)
    state = rig.routes.topology.shards[ShardId(1)]
    rig.routes.adopt(rig.routes.topology.with_shard(replace(state, in_sync=("1", "3"))))
    for _ in range(4):
        rig.call("get", key, STALE)
    assert seen(rig, 1) == [0, 0, 4]
    state = rig.routes.topology.shards[ShardId(1)]
    rig.routes.adopt(rig.routes.topology.with_shard(replace(state, leader="3")))
    rig.call("get", key, STALE)
    assert seen(rig, 1) == [1, 0, 4]


def test_a_proxy_may_read_from_followers_by_itself() -> None:
    rig = Rig(followers=2, stale_ms=800)
    rig.tick(0.0)
    assert len(rig.routes.followers.links) == 3 * 2 * 2
    rig.open_followers()
    key = rig.key_of(2)
    rig.call("put", key, 1)
    assert rig.call("get", key) == 1
    assert rig.call("mget", [key]) == [1]
    assert rig.call("count", None, None) == 1
    assert [name for name, _ in rig.shards[2].seen] == ["put"]
    assert rig.introduction.hello(rig.routes, READ)["stale_ms"] == 800
    assert "stale_ms" not in rig.introduction.hello(rig.routes, "point")


def test_a_read_only_proxy_refuses_writes_and_says_so() -> None:
    rig = Rig(read_only=True)
    for write in (("put", "a", 1), ("delete", "a"), ("batch", [["put", "a", 1]]), ("batch", [])):
        assert rig.call(*write) == ["error", [11, b"FORBIDDEN this proxy is read only; write to another", None]]
    assert rig.call("get", "a") is None
    assert rig.call("count", None, None) == 0


@pytest.mark.parametrize("method", ["scan", "count"])
def test_the_bounds_of_ranges_are_checked(method: str) -> None:
    rig = Rig()
    for options in ({"stale_ms": 0}, {"stale_ms": True}, {"at": 1}, {"at": [1, 2]}, {"at": [True, 1, 1]}):
        answer = rig.call(method, None, None, options)
        assert isinstance(answer, list)
        assert answer[1][0] == 1, options
