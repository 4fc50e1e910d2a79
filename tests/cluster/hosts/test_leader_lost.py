"""A leader on another host that is lost to all, to etcd, or to itself: who leads next, when, and what nobody is told.

Writes wait for all replicas in sync, so what clients were told has to fit one order, whatever happened. Each replica is
watched from its own host, where no cut path hides what it answers.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from support.host_cluster import (
    COORDINATORS,
    ETCDS,
    LEASE_SECONDS,
    HostCluster,
    cut,
    isolated,
    other_replica,
    paths,
    until,
)
from support.shard_peer import LeaderWatch
from support.told import Traffic

REPLACED_SECONDS = LEASE_SECONDS + 1.0
"""The promise: how long a shard may be without a leader."""
ALLOWANCE_SECONDS = 1.5
"""For a test machine whose few cores have fifteen processes to run, and other tests beside them."""
CLAIM_SECONDS = 2.0
"""How long who was elected may take to take its lease, and who has no lease to get one from a new coordinator."""
BEFORE_SECONDS = 0.5
AFTER_SECONDS = 0.3

Fault = Callable[[HostCluster, str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Lost:
    """What is going on while the leader is lost."""

    cluster: HostCluster
    leader: str
    """The host of the one that is lost."""
    term: int
    clients: Traffic
    old: LeaderWatch
    new: LeaderWatch

    @property
    def successor(self) -> str:
        return other_replica(self.leader)

    def await_successor(self) -> None:
        until(lambda: self.new.answers, f"{self.successor} leads")
        until(lambda: self.cluster.leader() == self.successor, f"the proxy knows that {self.successor} leads")
        time.sleep(AFTER_SECONDS)


@contextlib.contextmanager
def traffic(cluster: HostCluster, name: str) -> Iterator[Lost]:
    """Clients at work and both replicas watched; at the end what all were told is checked.

    When the block ends the cluster has to be on its way to be whole; it is awaited, and then no replica differs.
    """
    leader = cluster.leader()
    watches = cluster.watch(leader), cluster.watch(other_replica(leader))
    with cluster.traffic(name) as clients, watches[0] as old, watches[1] as new:
        time.sleep(BEFORE_SECONDS)
        yield Lost(cluster, leader, cluster.state()["term"], clients, old, new)
        cluster.await_in_sync()
        time.sleep(AFTER_SECONDS)
    cluster.ask(clients.check_linearizable)
    clients.check_versions_rise()
    assert old.answers, "the leader was not seen to lead"
    if new.answers:
        assert old.answers[-1].received_at < new.answers[0].received_at, "two led at a time"
    cluster.check_equal()


def from_all(cluster: HostCluster, leader: str) -> AbstractContextManager[None]:
    return isolated(cluster, leader)


def from_etcd(cluster: HostCluster, leader: str) -> AbstractContextManager[None]:
    return cut(cluster, paths([leader], ETCDS) + paths(ETCDS, [leader]))


def asking_etcd(cluster: HostCluster, leader: str) -> AbstractContextManager[None]:
    return cut(cluster, paths([leader], ETCDS))


def hearing_etcd(cluster: HostCluster, leader: str) -> AbstractContextManager[None]:
    return cut(cluster, paths(ETCDS, [leader]))


@pytest.mark.parametrize("fault", [from_all, from_etcd, asking_etcd, hearing_etcd])
def test_a_leader_cut_off_is_replaced_and_comes_back_as_a_follower(insync: HostCluster, fault: Fault) -> None:
    # FAULTS 18, 25
    with traffic(insync, fault.__name__) as lost:
        began = time.monotonic()
        with fault(insync, lost.leader):
            lost.await_successor()
        until(lambda: insync.said(lost.leader, "following leader="), "the former leader follows")
    print(f"{fault.__name__}: away {lost.clients.away_seconds(began):.2f} s, {lost.clients.errors()}")
    assert lost.old.answers[-1].received_at < began + LEASE_SECONDS
    # One who still answers the coordinator may be elected, and does not take its lease.
    in_vain = insync.state()["term"] - lost.term - 1
    assert in_vain in ((0,) if fault is from_all else (0, 1))
    assert lost.clients.away_seconds(began) < REPLACED_SECONDS + in_vain * CLAIM_SECONDS + ALLOWANCE_SECONDS
    insync.await_said(lost.leader, "lease not renewed, trying again", "stepping down", 'why="the lease was not')
    assert insync.said_by(COORDINATORS, "failover shard=1")
    insync.await_said(lost.successor, "leads now")


def test_one_who_can_not_take_its_lease_is_not_elected_for_ever(insync: HostCluster) -> None:
    with traffic(insync, "unclaimed") as lost, contextlib.ExitStack() as stack:
        for name in COORDINATORS:
            stack.enter_context(insync.processes[name].paused())
        out_of_reach = [*ETCDS, lost.successor]
        with cut(insync, paths([lost.leader], out_of_reach) + paths(out_of_reach, [lost.leader])):
            insync.await_said(lost.leader, "shard closed", "shard serves")  # with the longest log, and no lease
            stack.close()
            lost.await_successor()
    assert insync.said_by(COORDINATORS, "elected leader has not taken its lease")


def test_a_killed_leader_is_replaced(insync: HostCluster) -> None:
    with traffic(insync, "killed") as lost:
        began = time.monotonic()
        insync.processes[lost.leader].kill()
        lost.await_successor()
        insync.launch(lost.leader)
    print(f"killed: away {lost.clients.away_seconds(began):.2f} s, {lost.clients.errors()}")
    assert lost.clients.away_seconds(began) < REPLACED_SECONDS + ALLOWANCE_SECONDS
    assert insync.state()["term"] == lost.term + 1


def test_a_leader_that_sleeps_past_its_lease_answers_nothing_any_more(insync: HostCluster) -> None:  # FAULTS 16
    with traffic(insync, "asleep") as lost, contextlib.ExitStack() as stack:
        began = time.monotonic()
        with insync.processes[lost.leader].paused():
            late = stack.enter_context(insync.watch(lost.leader))  # its first request waits for the sleeper
            lost.await_successor()
        until(lambda: insync.said(lost.leader, "following leader="), "the former leader follows")
        until(lambda: late.breaks + late.refusals > 0, "it answers that it does not lead, or not at all")
        assert not late.answers
    print(f"asleep: away {lost.clients.away_seconds(began):.2f} s, {lost.clients.errors()}")
    assert lost.old.answers[-1].received_at < began + 0.2
    assert lost.clients.away_seconds(began) < REPLACED_SECONDS + ALLOWANCE_SECONDS
    insync.await_said(lost.leader, "stepping down")


def test_the_other_coordinator_takes_over_and_sees_to_a_killed_leader(insync: HostCluster) -> None:
    active = insync.active_coordinator()
    with traffic(insync, "coordinator") as lost:
        began = time.monotonic()
        insync.processes[active].kill()
        insync.processes[lost.leader].kill()
        lost.await_successor()
        insync.launch(active)
        insync.launch(lost.leader)
    print(f"coordinator: away {lost.clients.away_seconds(began):.2f} s, {lost.clients.errors()}")
    successor = insync.active_coordinator()
    assert successor != active
    assert insync.said(successor, "failover shard=1")
    bound = LEASE_SECONDS + CLAIM_SECONDS + REPLACED_SECONDS + ALLOWANCE_SECONDS
    assert lost.clients.away_seconds(began) < bound


def test_without_etcd_a_leader_serves_as_long_as_its_lease_and_nobody_else_does(insync: HostCluster) -> None:
    # FAULTS 19
    with traffic(insync, "etcd") as lost:
        began = time.monotonic()
        for member in insync.etcd.values():
            member.kill()
        time.sleep(LEASE_SECONDS + 1.5)
        assert not lost.new.answers
        stopped = time.monotonic()
        for member in insync.etcd.values():
            member.launch()
        for member in insync.etcd.values():
            member.await_ready()
        until(lambda: lost.clients.wrote_since(stopped), "writes are done again")
    print(f"etcd: away {lost.clients.away_seconds(began):.2f} s, {lost.clients.errors()}")
    down = [told.told_at for told in lost.clients.done("put") if began < told.told_at < stopped]
    assert down[-1] - began > LEASE_SECONDS / 4, "it went on without etcd"
    assert down[-1] - began < LEASE_SECONDS, "it answered longer than its lease"
    assert insync.state()["term"] == lost.term + 1
    insync.await_said(lost.leader, "lease not renewed, trying again", "stepping down")
    assert insync.said_by(COORDINATORS, "etcd does not answer")
