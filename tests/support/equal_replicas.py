"""The invariant of replication, asked of a running cluster: at equal LSN a leader and its followers hold the same."""

import time

from sherd.cli.repair import asker, topology_of, verdict_line
from sherd.client.sync import Client
from sherd.cluster.repair import Repair, Verdict
from sherd.common.clock import SystemClock

PATIENCE_SECONDS = 30.0


def repair_of(db: Client) -> Repair:
    """Compares and mends the cluster that ``db`` is a client of."""
    return Repair(asker(db), lambda: topology_of(db), SystemClock())


def verdicts_of(db: Client) -> list[Verdict]:
    """What comparing all replicas finds; a follower that can't be compared yet is waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        verdicts = [one for shard in topology_of(db).shards for one in repair_of(db).compare(shard)]
        passing = [one for one in verdicts if one.error and not one.damaged]
        if not passing or time.monotonic() > deadline:
            return verdicts
        time.sleep(0.1)


def assert_replicas_equal(db: Client) -> None:
    """Every follower holds, key by key, version by version, what its leader does. There must be followers."""
    verdicts = verdicts_of(db)
    assert verdicts, "there are no followers to compare"
    wrong = [verdict_line(verdict) for verdict in verdicts if not verdict.equal]
    assert not wrong, wrong
