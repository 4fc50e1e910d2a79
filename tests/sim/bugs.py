"""Bugs put into the cluster's code on purpose: some seed of ``chaos`` has to catch each of them.

``PYTHONPATH=tests python -m sim.bugs NAME FIRST LAST`` runs seeds with the bug until one catches it. Some patch what is
compiled, so this takes the interpreted build (``SHERD_INTERPRETED=1``).
"""

import logging
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sherd.cluster import candidates, elections
from sherd.cluster.elections import Elections
from sherd.cluster.etcd import seat
from sherd.cluster.etcd.api import Absent
from sherd.cluster.etcd.lease import KeptLease
from sherd.cluster.etcd.seat import LeasedSeat
from sherd.cluster.membership import Membership
from sherd.common.topology.state import ShardState
from sherd.shard.lsm import cutting
from sherd.shard.lsm.engine_following import EngineFollowing
from sherd.shard.lsm.wal import SyncTicket
from sherd.shard.replication import feed
from sherd.shard.replication.feed import Feeds
from sherd.shard.replication.role import Replication
from sherd.shard.replies import ReplyGate
from sherd.shard.turn import Turn
from sim import chaos
from sim.cluster import Shape
from sim.simulation import Simulation

Patch = pytest.MonkeyPatch
SECONDS = 120.0


@dataclass(frozen=True)
class Bug:
    """``seed`` breaks the code; ``shape`` is the cluster in which that shows, by these faults sooner than by all."""

    seed: Callable[[Patch], None]
    shape: Shape = field(default_factory=Shape)
    faults: tuple[str, ...] = ()


def acknowledges_before_followers_have_it(patch: Patch) -> None:
    before = ReplyGate.replicated
    patch.setattr(ReplyGate, "replicated", lambda self, lsn, *rest: before(self, None, *rest))


def acknowledges_before_the_sync(patch: Patch) -> None:
    patch.setattr(SyncTicket, "run", lambda self: None)


def releases_after_the_deadline(patch: Patch) -> None:
    patch.setattr(LeasedSeat, "deadline", property(lambda self: math.inf if self._lease else -math.inf))


def deadline_counts_from_the_answer(patch: Patch) -> None:
    def extend(self: KeptLease, asked_at: float, ttl_seconds: int) -> None:
        self.deadline = self._clock.boottime() + 2 * ttl_seconds

    patch.setattr(KeptLease, "_extend", extend)


def deadline_on_a_clock_that_sleeps(patch: Patch) -> None:
    def deadline(self: LeasedSeat) -> float:
        clock = self._world.clock
        return -math.inf if self._lease is None else self._lease.deadline + clock.boottime() - clock.monotonic()

    before = KeptLease._extend

    def extend(self: KeptLease, asked_at: float, ttl_seconds: int) -> None:
        before(self, asked_at - self._clock.boottime() + self._clock.monotonic(), ttl_seconds)

    patch.setattr(LeasedSeat, "deadline", property(deadline))
    patch.setattr(KeptLease, "_extend", extend)


def claims_while_another_has_the_lease(patch: Patch) -> None:
    patch.setattr(seat, "Absent", lambda key: Absent("no such key"))
    patch.setattr(elections, "Absent", lambda key: Absent("no such key"))
    before = Elections._is_due

    def is_due(self: Elections, state: ShardState, leases: Any) -> bool:
        return before(self, state, leases) or self._world.random.random() < 0.02

    patch.setattr(Elections, "_is_due", is_due)


def elects_outside_the_in_sync_set(patch: Patch) -> None:
    before = candidates.positions_of

    async def positions_of(network: Any, state: ShardState, names: Any) -> Any:
        return await before(network, state, state.replicas)

    before_elect = Elections._elect

    async def elect(self: Elections, seen: ShardState, successor: str, in_sync: Any) -> Any:
        return await before_elect(self, seen, successor, (*in_sync, *({successor} - set(in_sync))))

    patch.setattr(elections, "positions_of", positions_of)
    patch.setattr(Elections, "_elect", elect)


def elects_the_shortest_log(patch: Patch) -> None:
    patch.setattr(elections, "longest", lambda state, found: min(found, key=lambda name: (found[name], name)))


def elects_without_asking_for_complete_logs(patch: Patch) -> None:
    patch.setattr(elections, "may_elect", lambda state, positions: True)


def leads_again_in_a_term_that_it_has_led(patch: Patch) -> None:
    patch.setattr(
        Replication,
        "_is_called",
        lambda self: self._state.leader == self._config.replica and self._state.term >= max(self._engine.term, 1),
    )
    before = EngineFollowing.lead

    def lead(self: EngineFollowing, term: int) -> None:
        if term == self.term:
            self.following = False
            self._builder.reset(self.last_lsn + 1)
            self._take_segment()
        else:
            before(self, term)

    patch.setattr(EngineFollowing, "lead", lead)


def begins_a_term_without_a_gap(patch: Patch) -> None:
    from sherd.shard.lsm import engine_following

    patch.setattr(engine_following, "TERM_LSN_STEP", 1)


def finds_no_forks(patch: Patch) -> None:
    patch.setattr(feed, "common_lsn", lambda ours, last, theirs, their_last: min(last, their_last))


def cuts_nothing(patch: Patch) -> None:
    """A follower with a tail that its leader does not have goes on with it."""
    from sherd.shard import worker

    patch.setattr(worker, "cut_log", lambda *args: None)
    patch.setattr(cutting, "cut_log", lambda *args: None)
    patch.setattr(feed, "common_lsn", lambda ours, last, theirs, their_last: min(last, their_last))


def stops_to_wait_before_the_topology_says_so(patch: Patch) -> None:
    before = Feeds.tick

    def tick(self: Feeds) -> bool:
        told = before(self)
        now = self._monotonic()
        self._in_sync = frozenset(name for name in self._in_sync if now - self._feeds[name].heard_at < 1.0)
        self._count()
        return told

    patch.setattr(Feeds, "tick", tick)


def takes_out_of_sync_whom_the_leader_waits_for(patch: Patch) -> None:
    """The set in the topology grows by who has fallen behind."""

    async def judge(self: Membership, state: ShardState, name: str, told: dict[str, object]) -> None:
        if name not in state.in_sync:
            await self._set(state, name, True, "a bug")

    patch.setattr(Membership, "_judge", judge)


def answers_before_the_log_is_written(patch: Patch) -> None:
    before = Turn.end

    def end(self: Turn) -> None:
        for sink in self._gate.take_dirty():
            data = sink.take()
            if sink.outlet is not None:
                sink.outlet.send(data)
        before(self)

    patch.setattr(Turn, "end", end)


WRITTEN = Shape(fsync="interval:100ms")
BUGS = {
    bug.__name__: Bug(bug, shape, tuple(faults))
    for bug, shape, *faults in (
        (acknowledges_before_followers_have_it, WRITTEN),
        (acknowledges_before_the_sync, Shape(followers=0)),
        (releases_after_the_deadline, Shape()),
        (deadline_counts_from_the_answer, Shape()),
        (deadline_on_a_clock_that_sleeps, Shape()),
        (claims_while_another_has_the_lease, Shape()),
        (elects_outside_the_in_sync_set, Shape()),
        (elects_the_shortest_log, WRITTEN),
        (
            elects_without_asking_for_complete_logs,
            WRITTEN,
            "power_cut",
            "power_cut",
            "isolate",
            "kill",
            "cut_both_ways",
        ),
        (leads_again_in_a_term_that_it_has_led, WRITTEN),
        (begins_a_term_without_a_gap, WRITTEN),
        (finds_no_forks, WRITTEN),
        (cuts_nothing, WRITTEN),
        (stops_to_wait_before_the_topology_says_so, Shape()),
        (takes_out_of_sync_whom_the_leader_waits_for, Shape()),
        (answers_before_the_log_is_written, Shape(followers=0, fsync="interval:100ms")),
    )
}


def caught_by(name: str, seeds: range, seconds: float = SECONDS) -> tuple[int, BaseException] | None:
    """The first seed that catches the bug, and how; None if none of them does."""
    bug = BUGS[name]
    with pytest.MonkeyPatch.context() as patch:
        bug.seed(patch)
        for seed in seeds:
            try:
                with Simulation(seed) as sim:
                    chaos.run(sim, bug.shape, seconds, bug.faults)
            except Exception as error:  # noqa: BLE001 - whatever it is, it was caught
                return seed, error
    return None


def main() -> int:
    name, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.CRITICAL)
    found = caught_by(name, range(first, last))
    print(f"{name}: " + ("not caught" if found is None else f"caught by seed {found[0]}: {found[1]!r:.200}"))
    return 1 if found is None else 0


if __name__ == "__main__":
    sys.exit(main())
