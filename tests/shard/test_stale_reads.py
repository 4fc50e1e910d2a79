"""Which reads a follower answers: never one that does not ask for it, never older or less than it asks for."""

from typing import Any

import pytest
from support.engine_run import run_jobs
from support.shard_core import ShardCore, shard_core

from sherd.common.errors import NotLeader
from sherd.shard.replication.history import term_of
from sherd.shard.replication.stale_reads import StaleReads

pytestmark = pytest.mark.core

TERM = 1 << 32


class Caught:
    """A follower as far as reads care: when it had all its leader had; notes who wants it to be newer."""

    def __init__(self) -> None:
        self.caught_up_at = float("-inf")
        self.wishes: list[float] = []

    def hurry(self, stale_seconds: float) -> None:
        self.wishes.append(stale_seconds)


@pytest.fixture
def core():
    with shard_core() as found:
        yield found


def follow(core: ShardCore) -> Caught:
    """Have the shard answer as a follower that has just caught up."""
    caught = Caught()
    caught.caught_up_at = core.clock.monotonic()
    core.service.following = True
    core.service.admin.stale_reads = StaleReads(core.engine, 1, caught, core.clock.monotonic)
    return caught


READS: list[tuple[Any, ...]] = [("get", "k"), ("mget", ["k"]), ("count_slice", None, None), ("fetch", None, None)]


def with_options(read: tuple[Any, ...], **options: Any) -> tuple[Any, ...]:
    return (*read, options)


@pytest.mark.parametrize("read", READS, ids=lambda read: read[0])
def test_a_follower_answers_what_is_new_enough(core: ShardCore, read: tuple[Any, ...]) -> None:
    core.call("put", "k", 1)
    caught = follow(core)
    assert core.refused(*(with_options(read) if read[0] == "fetch" else read)) == "NOT_LEADER"
    core.clock.advance(0.1)
    core.call(*with_options(read, stale_ms=100))
    assert core.refused(*with_options(read, stale_ms=99)) == "NOT_LEADER"
    assert caught.wishes == [0.1, 0.099]
    caught.caught_up_at = float("-inf")
    assert core.refused(*with_options(read, stale_ms=2**31 - 1)) == "NOT_LEADER"


@pytest.mark.parametrize("read", READS, ids=lambda read: read[0])
def test_a_follower_answers_who_has_to_see_a_write_once_it_is_there(core: ShardCore, read: tuple[Any, ...]) -> None:
    version, at = core.call("put", "k", 1, {"meta": True})
    assert at == [1, core.engine.term, version]
    caught = follow(core)
    core.clock.advance(1000.0)
    core.call(*with_options(read, at=at))
    assert core.refused(*with_options(read, at=[1, at[1], version + 1])) == "NOT_LEADER"
    assert core.refused(*with_options(read, at=[1, at[1] + 1, version])) == "NOT_LEADER"
    assert core.refused(*with_options(read, at=[2, at[1], version])) == "NOT_LEADER"  # of another shard
    assert core.refused(*with_options(read, at=at, stale_ms=1)) == "NOT_LEADER"  # both hold
    core.call(*with_options(read, at=[2, 9, 9], stale_ms=2**31 - 1))
    caught.caught_up_at = float("-inf")  # the end of its log may not be its leader's
    assert core.refused(*with_options(read, at=at)) == "NOT_LEADER"


def test_a_link_may_have_said_how_old_an_answer_may_be(core: ShardCore) -> None:
    core.call("put", "k", 1)
    follow(core)
    core.call("hello", {"stale_ms": 500})
    core.clock.advance(0.5)
    assert core.call("get", "k") == 1
    assert core.call("count_slice", None, None)[2] == 1
    core.clock.advance(0.1)
    assert core.refused("get", "k") == "NOT_LEADER"
    assert core.call("get", "k", {"stale_ms": 600}) == 1
    assert core.refused("hello", {"stale_ms": 0}) == "BAD_REQUEST"


def test_a_follower_takes_no_writes_and_nobody_elses_keys(core: ShardCore) -> None:
    follow(core)
    assert core.refused("put", "k", 1) == "NOT_LEADER"
    assert core.refused("delete", "k") == "NOT_LEADER"
    assert core.refused("batch", [["put", "k", 1]]) == "NOT_LEADER"
    assert core.refused("get", "zz", {"stale_ms": 1000}) == "WRONG_SHARD"


def test_a_leader_answers_whatever_age_is_asked_for_but_not_for_a_later_term(core: ShardCore) -> None:
    version, at = core.call("put", "k", 1, {"meta": True})
    assert core.call("get", "k", {"stale_ms": 1, "at": at}) == 1
    assert core.call("get", "k", {"at": [2, at[1] + 5, version]}) == 1
    assert core.refused("get", "k", {"at": [1, at[1] + 1, version]}) == "UNAVAILABLE"


def test_a_follower_shows_nothing_that_has_expired_by_its_leaders_time(core: ShardCore) -> None:
    core.call("put", "k", 1, {"ttl": 10})
    follow(core)
    assert core.call("get", "k", {"stale_ms": 1000}) == 1
    core.engine.time.seen(core.engine.now_ms() + 10_000)
    assert core.call("get", "k", {"stale_ms": 1000}) is None
    with pytest.raises(NotLeader):
        core.service.lead_only()


def test_a_write_with_meta_tells_its_place(core: ShardCore) -> None:
    term = core.engine.term
    version, at = core.call("put", "a", 1, {"meta": True})
    assert at == [1, term, version]
    assert core.call("batch", [["put", "b", 1], ["delete", "none"]], {"meta": True}) == [
        [version + 1, [1, term, version + 1]], [False, [1, term, version + 1]]
    ]  # fmt: skip
    assert core.call("delete", "a", {"meta": True, "return": True}) == [1, [1, term, version + 2]]
    assert core.call("delete", "a", {"meta": True}) == [False, [1, term, version + 2]]


def test_under_insync_an_answer_from_tables_waits_for_followers() -> None:
    with shard_core(in_sync=True) as core:
        core.gate.replicated(core.engine.last_lsn, 2)
        for request in (("put", "k", 1), ("put", "gone", 1), ("delete", "gone")):
            core.feed_request(*request)
        core.engine.request_flush()
        run_jobs(core.engine, core.disk, core.options)
        assert core.engine.flushed_lsn == core.engine.last_lsn
        assert core.turn() == []  # nothing is copied
        for request in (("get", "k"), ("get", "gone"), ("get", "never"), ("mget", ["k"]), ("delete", "gone")):
            core.feed_request(*request)
        assert core.turn() == []
        assert core.call("ping") == "pong"
        assert core.call("status")["flushed_lsn"] == core.engine.flushed_lsn
        core.gate.replicated(core.engine.flushed_lsn, 2)
        assert len(core.turn()) == 8
        assert core.call("get", "k") == 1


def test_min_insync_refuses_before_anything_is_done() -> None:
    with shard_core(in_sync_min=2) as core:
        last_lsn = core.engine.last_lsn
        for request in (("put", "k", 1), ("delete", "k"), ("batch", [["put", "k", 1]])):
            reply = core.ask(*request, {"acks": "insync"})
            assert reply.error == (21, "UNAVAILABLE", None)
            assert reply.text.startswith("UNAVAILABLE replicas in sync: 1, needed for acks insync: 2")
        assert core.engine.last_lsn == last_lsn
        core.call("put", "k", 1)
        core.gate.replicated(core.engine.last_lsn, 2)
        core.feed_request("put", "k", 2, {"acks": "insync"})
        assert core.turn() == []
        core.gate.replicated(core.engine.last_lsn, 2)
        assert [reply.error for reply in core.turn()] == [None]


@pytest.mark.parametrize(
    ("lsn", "term"),
    [(0, None), (9, None), (10, 2), (50, 2), (51, None), (50 + TERM - 1, None), (50 + TERM, 3), (50 + 2 * TERM, 3)],
)
def test_the_term_of_a_place(lsn: int, term: int | None) -> None:
    assert term_of([(2, 10), (3, 50 + TERM)], lsn) == term
