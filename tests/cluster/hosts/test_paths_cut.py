"""Paths that are cut while the leader leads on: to its follower, and from the proxy."""

import time

from support.host_cluster import COORDINATORS, SILENCE_SECONDS, HostCluster, cut, other_replica, paths, until

SILENT_SECONDS = 3.0
"""How long a follower in sync may not be heard by its leader."""
ALLOWANCE_SECONDS = 2.0


def test_a_leader_cut_from_its_follower_goes_on_without_it(insync: HostCluster) -> None:
    leader = insync.leader()
    follower, term = other_replica(leader), insync.state()["term"]
    with insync.traffic("follower") as clients:
        began = time.monotonic()
        with cut(insync, paths([leader], [follower]) + paths([follower], [leader])):
            until(lambda: insync.state()["in_sync"] == [leader.removeprefix("replica")], "the follower is taken out")
            alone = time.monotonic()
            until(lambda: clients.wrote_since(alone), "writes go on without it")
        insync.await_in_sync()
    print(f"follower: away {clients.away_seconds(began):.2f} s, {clients.errors()}")
    assert clients.away_seconds(began) < SILENT_SECONDS + ALLOWANCE_SECONDS
    insync.ask(clients.check_linearizable)
    insync.check_equal()
    assert insync.state()["term"] == term
    assert insync.said_by(COORDINATORS, "follower is not in sync shard=1")
    assert insync.said_by(COORDINATORS, "follower is in sync shard=1")


def test_a_proxy_cut_from_the_leader_says_so_and_finds_it_again(insync: HostCluster) -> None:  # FAULTS 17, 20
    leader, term = insync.leader(), insync.state()["term"]
    with insync.traffic("proxy") as clients:
        began = time.monotonic()
        with cut(insync, paths([leader], ["proxy"]) + paths(["proxy"], [leader])):
            insync.await_said("proxy", "link silent")
            silent = time.monotonic()
            time.sleep(0.5)
        healed = time.monotonic()
        until(lambda: clients.wrote_since(healed), "writes are done again")
        back = time.monotonic()
    print(f"proxy: silent after {silent - began:.2f} s, back in {back - healed:.2f} s, {clients.errors()}")
    assert silent - began < 2 * SILENCE_SECONDS + ALLOWANCE_SECONDS
    assert back - healed < ALLOWANCE_SECONDS + 2.0
    assert clients.errors().keys() <= {"Timeout", "Unavailable"}
    insync.ask(clients.check_linearizable)
    insync.check_equal()
    assert insync.state()["term"] == term
    insync.await_said("proxy", "link silent", "link lost", "link open")
