"""Links without I/O: what becomes of requests when a shard dies, stalls, refuses or moves. # FAULTS 17, 20, 24, 29"""

from dataclasses import replace

import pytest
from support.proxy_core import RecordingSink, Rig

from sherd.common.errors import NotLeader, WrongShard
from sherd.common.topology.layout import Layout
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import LayoutCounter, ShardId
from sherd.common.wire.encode import request
from sherd.proxy.bounds import Bounds
from sherd.proxy.link import LinkBroken

pytestmark = pytest.mark.core


def outcome(sink: RecordingSink) -> dict[object, object]:
    """By msgid: the result, or the error's code in a tuple."""
    found: dict[object, object] = {}
    for _, msgid, error, result in sink.responses():
        found[msgid] = (error[0],) if isinstance(error, list) else result
    return found


def test_sent_writes_time_out_and_are_not_resent_reads_are() -> None:
    rig = Rig(shards=1)
    session, sink = rig.session()
    session.feed(request(1, "put", ["a", 1]) + request(2, "get", ["b"]))
    rig.flush()
    session.feed(request(3, "put", ["c", 3]))
    rig.lose(rig.link(1))
    rig.flush()
    assert outcome(sink) == {1: (22,)}
    rig.open(rig.link(1))
    rig.serve()
    assert outcome(sink) == {2: None, 3: 1}
    assert [method for method, _ in rig.shards[1].seen] == ["get", "put"]


def test_a_read_that_could_see_a_later_write_is_not_resent() -> None:
    rig = Rig(shards=1)
    session, sink = rig.session()
    session.feed(
        request(1, "get", ["a"])
        + request(2, "mget", [["x", "a"]])
        + request(3, "get", ["b"])
        + request(4, "put", ["a", 1])
        + request(5, "get", ["a"])
    )
    rig.flush()
    rig.lose(rig.link(1))
    rig.flush()
    assert outcome(sink) == {1: (21,), 2: (21,), 4: (22,)}
    rig.open(rig.link(1))
    rig.serve()
    assert outcome(sink) == {3: None, 5: None}


def test_unsent_requests_are_held_and_then_unavailable() -> None:
    rig = Rig(shards=1, bounds=Bounds(failover_hold_s=2.0))
    rig.lose(rig.link(1))
    session, sink = rig.session()
    session.feed(request(1, "put", ["a", 1]))
    rig.tick(1.9)
    session.feed(request(2, "get", ["a"]))
    assert outcome(sink) == {}
    rig.tick(0.2)
    assert outcome(sink) == {1: (21,)}
    rig.open(rig.link(1))
    rig.serve()
    assert outcome(sink) == {2: None}
    assert rig.link(1).held_bytes == 0


def test_held_bytes_are_bounded() -> None:
    rig = Rig(shards=1, bounds=Bounds(held_bytes_max=10_000))
    rig.lose(rig.link(1))
    session, sink = rig.session()
    for number in range(5):
        session.feed(request(number, "put", ["a", b"x" * 3000]))
    rig.flush()
    assert outcome(sink) == {3: (21,), 4: (21,)}
    rig.open(rig.link(1))
    rig.serve()
    assert outcome(sink) == {0: 1, 1: 2, 2: 3}


def test_order_is_kept_across_a_reconnect() -> None:
    rig = Rig(shards=1)
    session, sink = rig.session()
    session.feed(request(1, "get", ["a"]))
    rig.flush()
    rig.lose(rig.link(1))
    for number in range(2, 50):
        session.feed(request(number, "put", ["a", number]))
    session.feed(request(50, "get", ["a"]))
    rig.open(rig.link(1))
    rig.serve()
    found = outcome(sink)
    assert found[1] is None
    assert found[50] == 49
    assert [found[number] for number in range(2, 50)] == list(range(1, 49))


def test_timeout_keeps_the_slot_until_the_late_answer() -> None:
    rig = Rig(shards=1, bounds=Bounds(request_timeout_s=5.0))
    session, sink = rig.session()
    session.feed(request(1, "put", ["a", 1]) + request(2, "get", ["a", {"deadline_ms": 200}]))
    rig.flush()
    late = rig.link(1).sink
    assert isinstance(late, RecordingSink)
    held_back = late.take()
    rig.tick(0.3)
    assert outcome(sink) == {2: (22,)}
    rig.tick(5.0)
    assert outcome(sink) == {1: (22,)}
    assert session.inflight == 0
    session.feed(request(3, "get", ["b"]))
    rig.flush()
    late.written = held_back + late.written
    rig.serve()
    assert outcome(sink) == {3: None}


def test_slots_are_bounded() -> None:
    rig = Rig(shards=1, bounds=Bounds(link_requests_max=3))
    session, sink = rig.session()
    for number in range(5):
        session.feed(request(number, "get", ["a"]))
    rig.flush()
    assert outcome(sink) == {3: (20,), 4: (20,)}
    rig.serve()
    assert outcome(sink) == {0: None, 1: None, 2: None}


@pytest.mark.parametrize(
    "data", [b"\x94\x01\x05\xc0\xc0", b"\x94\x01\xce\xff\xff\xff\xff\xc0\xc0", b"\x94\x01\x00\xc0\xc0" * 2]
)
def test_answers_that_were_not_asked_for(data: bytes) -> None:
    rig = Rig(shards=1)
    session, _ = rig.session()
    session.feed(request(1, "get", ["a"]))
    rig.flush()
    with pytest.raises(LinkBroken):
        rig.link(1).feed(data, rig.now)


def test_a_silent_shard_is_found() -> None:
    rig = Rig(shards=1, bounds=Bounds(silence_s=10.0))
    link = rig.link(1)
    assert link.expire(rig.now + 4.0)
    assert link.live == 0
    assert link.expire(rig.now + 6.0)
    assert link.live == 1
    assert link.expire(rig.now + 10.9)
    assert not link.expire(rig.now + 11.0)


def test_a_proxy_that_was_stopped_itself_asks_first() -> None:
    rig = Rig(shards=1, bounds=Bounds(silence_s=10.0))
    link = rig.link(1)
    rig.now += 1000.0
    assert link.expire(rig.now)
    rig.serve()
    assert link.expire(rig.now + 4.0)


def test_an_idle_shard_that_answers_is_kept() -> None:
    rig = Rig(shards=1, bounds=Bounds(silence_s=10.0))
    for _ in range(20):
        rig.now += 3.0
        assert all(link.expire(rig.now) for link in rig.routes.links)
        rig.serve()


@pytest.mark.parametrize("refusal", [WrongShard("at layout 1", {"layout": 1}), NotLeader("a follower")])
def test_refused_requests_are_retried_in_order(refusal: WrongShard | NotLeader) -> None:
    rig = Rig(shards=2)
    key, other = rig.key_of(1), rig.key_of(2)
    session, sink = rig.session()
    rig.shards[1].refusing = refusal
    session.feed(b"".join(request(number, "put", [key, number]) for number in range(1, 20)))
    rig.serve()
    session.feed(request(20, "get", [key]) + request(30, "get", [other]))
    rig.serve()
    assert outcome(sink) == {30: None}
    rig.tick(0.1)
    rig.serve()
    assert rig.routes.refresh_wanted
    rig.shards[1].refusing = None
    rig.tick(0.1)
    rig.serve()
    found = outcome(sink)
    assert [found[number] for number in range(1, 20)] == list(range(1, 20))
    assert found[20] == 19


def test_refusals_are_held_no_longer_than_the_hold_time() -> None:
    rig = Rig(shards=1, bounds=Bounds(failover_hold_s=2.0))
    rig.shards[1].refusing = NotLeader("a follower")
    session, sink = rig.session()
    session.feed(request(1, "put", ["a", 1]))
    for _ in range(19):
        rig.tick(0.1)
        rig.serve()
    assert outcome(sink) == {}
    rig.tick(0.2)
    rig.serve()
    rig.tick(0.01)
    assert outcome(sink) == {1: (21,)}


def test_a_new_layout_waits_for_what_was_sent() -> None:
    rig = Rig("range", shards=2)
    key = rig.key_of(1)
    swapped = Layout(
        LayoutCounter(2),
        "range",
        tuple(replace(part, owner=ShardId(3 - part.owner)) for part in rig.topology.layout.partitions),
    )
    session, sink = rig.session()
    session.feed(request(1, "put", [key, 1]))
    rig.flush()
    rig.routes.adopt(replace(rig.topology, version=2, layout=swapped))
    session.feed(request(2, "put", [key, 2]))
    rig.flush()
    assert rig.link(2).live == 0
    rig.serve()
    assert outcome(sink) == {1: 1}
    for shard in rig.shards.values():
        shard.token_map = TokenMap(swapped)
    rig.tick(0.02)
    rig.serve()
    assert outcome(sink) == {2: 1}
    assert key in rig.shards[2].values


def test_an_older_topology_is_ignored() -> None:
    rig = Rig(shards=1)
    rig.routes.adopt(replace(rig.topology, version=5))
    rig.routes.adopt(replace(rig.topology, version=4))
    assert rig.routes.topology.version == 5


def test_a_shard_that_does_not_read_is_sent_no_more_than_the_backlog() -> None:
    rig = Rig(shards=1, bounds=Bounds(link_backlog_bytes_max=10_000))
    session, sink = rig.session()
    link_sink = rig.link(1).sink
    assert isinstance(link_sink, RecordingSink)
    session.feed(request(1, "put", ["a", b"x" * 9_000]) + request(2, "put", ["a", b"x" * 9_000]))
    session.feed(request(3, "put", ["a", 1]))
    link_sink.unread = 10_001
    rig.flush()
    assert outcome(sink) == {3: (20,)}
    session.feed(request(4, "put", ["a", 1]))
    rig.flush()
    assert outcome(sink) == {4: (20,)}
    link_sink.unread = 0
    rig.tick(0.02)
    session.feed(request(5, "put", ["a", 1]))
    rig.serve()
    assert outcome(sink) == {1: 1, 2: 2, 5: 3}
