"""What is asked of replicas in which order, and what is made of their answers; against replicas made of dicts."""

from collections.abc import Callable
from typing import Any

import pytest

from sherd.cluster.repair import ATTEMPTS, REACH_SECONDS_MAX, REBUILD_SECONDS_MAX, Repair
from sherd.common.clock import ManualClock
from sherd.common.errors import Corruption, NotLeader, Timeout, Unavailable
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term

ONE = ShardId(1)
ROWS = [[2, 77], [0, 0], [5, 99]]
OTHER = [[2, 77], [1, 3], [5, 98]]


class Replicas:
    """Answers as shards do; ``answers`` are what a digest gives by replica, the last of them again and again."""

    def __init__(self, **answers: list[Any]) -> None:
        self.clock = ManualClock()
        self.answers = {name.removeprefix("r"): given for name, given in answers.items()}
        self.asked: list[tuple[str, str]] = []
        self.rebuilds = 0
        self.leader = "1"
        self.on_rebuild: Callable[[], None] = lambda: None

    def topology(self) -> Topology:
        addresses = dict.fromkeys(self.answers, "unix:/nowhere")
        state = ShardState(ONE, Term(1), self.leader, addresses, (self.leader,))
        return Topology(1, "test", range_layout(1), {ONE: state})

    def ask(self, shard: int, name: str, method: str, params: list[Any]) -> Any:
        self.asked.append((name, method))
        if method == "compare":
            if name != self.leader:
                raise NotLeader("this replica follows")
            return [55, 1000, 123, [b"", b"b", b"c"]]
        if method == "digest":
            assert params == [55, 123, [b"", b"b", b"c"]]
            given = self.answers[name]
            answer = given.pop(0) if len(given) > 1 else given[0]
            if isinstance(answer, Exception):
                raise answer
            return answer
        if method == "rebuild":
            self.rebuilds = 3
            self.on_rebuild()
        if method == "followers":
            self.rebuilds -= 1
            return {"2": {"rebuild": self.rebuilds > 0}}
        return True

    @property
    def repair(self) -> Repair:
        return Repair(self.ask, self.topology, self.clock, sleep=self.clock.advance)


def test_equal_replicas_are_found_equal_and_the_comparison_is_ended() -> None:
    replicas = Replicas(r1=[[3, None], [7, ROWS]], r2=[None, None, [4, None], [9, ROWS]], r3=[[7, ROWS]])
    told: list[tuple[int, str, int]] = []
    repair = Repair(
        replicas.ask, replicas.topology, replicas.clock, lambda *one: told.append(one), replicas.clock.advance
    )
    verdicts = repair.mend(ONE)
    assert [(one.follower, one.equal, one.entries, one.ranges, one.lsn) for one in verdicts] == [
        ("2", True, 7, 3, 1000), ("3", True, 7, 3, 1000),
    ]  # fmt: skip
    assert replicas.asked[-1] == ("1", "compare_end")
    assert ("1", "rebuild") not in replicas.asked
    assert (1, "2", 4) in told
    assert replicas.asked.count(("1", "digest")) == 4  # it is asked for as long as others are at it


def test_a_follower_that_differs_is_rebuilt_and_compared_again() -> None:
    replicas = Replicas(r1=[[7, ROWS]], r2=[[8, OTHER]])

    def rebuilt() -> None:
        replicas.answers["2"] = [[7, ROWS]]

    replicas.on_rebuild = rebuilt
    (before,) = replicas.repair.compare(ONE)
    assert (before.differing, before.equal, before.wants_rebuild) == ((1, 2), False, True)
    (after,) = replicas.repair.mend(ONE)
    assert (after.equal, after.rebuilt) == (True, True)
    assert replicas.asked.count(("1", "rebuild")) == 1


def test_one_that_goes_on_differing_is_told() -> None:
    replicas = Replicas(r1=[[7, ROWS]], r2=[[8, OTHER]])
    (after,) = replicas.repair.mend(ONE)
    assert (after.equal, after.rebuilt, len(after.differing)) == (False, True, 2)


def test_a_damaged_follower_wants_to_be_rebuilt_and_a_damaged_leader_is_an_error() -> None:
    replicas = Replicas(r1=[[7, ROWS]], r2=[[3, None], Corruption("000007.sst byte 9")])
    (verdict,) = replicas.repair.compare(ONE)
    assert (verdict.damaged, verdict.equal, verdict.wants_rebuild) == (True, False, True)
    replicas = Replicas(r1=[Corruption("000007.sst byte 9")], r2=[[7, ROWS]])
    with pytest.raises(Corruption):
        replicas.repair.mend(ONE)
    assert replicas.asked[-1] == ("1", "compare_end")
    assert ("1", "rebuild") not in replicas.asked


def test_what_passes_is_tried_again() -> None:
    replicas = Replicas(r1=[[7, ROWS]], r2=[Unavailable("it began behind"), [7, ROWS]])
    (verdict,) = replicas.repair.compare(ONE)
    assert verdict.equal
    replicas = Replicas(r1=[[7, ROWS]], r2=[Unavailable("it is not up")])
    (verdict,) = replicas.repair.mend(ONE)
    assert (verdict.equal, verdict.damaged, verdict.wants_rebuild) == (False, False, False)
    assert replicas.asked.count(("1", "compare")) == ATTEMPTS


def test_one_that_stays_behind_is_told_after_a_time() -> None:
    replicas = Replicas(r1=[[7, ROWS]], r2=[None])
    (verdict,) = replicas.repair.compare(ONE)
    assert f"within {REACH_SECONDS_MAX:g} s" in verdict.error


def test_another_leader_is_asked_when_there_is_one() -> None:
    replicas = Replicas(r1=[[7, ROWS]], r2=[[7, ROWS]])
    real = replicas.ask

    def ask(shard: int, name: str, method: str, params: list[Any]) -> Any:
        if (name, method) == ("1", "compare"):
            replicas.leader = "2"
            raise NotLeader("not any more")
        return real(shard, name, method, params)

    replicas.ask = ask  # type: ignore[method-assign]
    (verdict,) = replicas.repair.compare(ONE)
    assert (verdict.follower, verdict.equal) == ("1", True)


def test_a_rebuild_that_does_not_end_is_a_timeout() -> None:
    replicas = Replicas(r1=[[7, ROWS]], r2=[[8, OTHER]])
    real = replicas.ask

    def ask(shard: int, name: str, method: str, params: list[Any]) -> Any:
        return {"2": {"rebuild": True}} if method == "followers" else real(shard, name, method, params)

    replicas.ask = ask  # type: ignore[method-assign]
    with pytest.raises(Timeout, match=f"{REBUILD_SECONDS_MAX:g} s"):
        replicas.repair.mend(ONE)


def test_a_shard_without_followers_has_no_verdicts() -> None:
    assert Replicas(r1=[]).repair.mend(ONE) == []
