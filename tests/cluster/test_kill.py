"""kill -9 of every process at random moments under write load: nothing acknowledged is missing, nothing torn is seen.

Each round starts the cluster on what the round before left, holds it to every acknowledgement so far, loads it, and
kills supervisor, proxies, shards and janitors at a random moment. FAULTS 9, 27, 31.
"""

import os
import random
import time
from pathlib import Path

import pytest
from support.write_load import Ledger, Writer, check

from sherd.testing import Cluster

WRITERS = 4
ROUNDS = int(os.environ.get("SHERD_KILL_ROUNDS", "50"))
POLICIES = ("always", "ops:50", "interval:20ms", "os")


def one_round(cluster: Cluster, ledgers: list[Ledger], starts: list[int], rng: random.Random) -> None:
    cluster.start()
    with cluster.client() as db:
        check(db, ledgers)
    seeds = [rng.getrandbits(32) for _ in ledgers]
    writers = [
        Writer(cluster.address, number, ledger, seed, start)
        for number, (ledger, seed, start) in enumerate(zip(ledgers, seeds, starts, strict=True))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        assert writer.first_reply.wait(30)
    deadline = time.monotonic() + rng.uniform(0.0, 0.4)
    writers[0].join(max(0.0, deadline - time.monotonic()))  # load for a random while; ends early only on a failure
    cluster.kill()
    for number, writer in enumerate(writers):
        writer.halt()
        writer.join(30)
        assert not writer.is_alive()
        if writer.failure is not None:
            raise writer.failure
        starts[number] = writer.reached


@pytest.mark.timeout(120 + 4 * ROUNDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_acknowledged_is_lost(policy: str, tmp_path: Path) -> None:
    rng = random.Random(f"kill {policy}")
    ledgers = [Ledger() for _ in range(WRITERS)]
    starts = [1] * WRITERS
    cluster = Cluster(
        shards=2,
        partition="range",
        split_at=["m"],
        data=tmp_path / "data",
        flags=[f"--fsync={policy}"],
        settings={"engine.memtable_bytes": 64 * 1024},  # so that kills meet flushes, compactions and rolls too
    )
    try:
        for _ in range(-(-ROUNDS // len(POLICIES))):
            one_round(cluster, ledgers, starts, rng)
        cluster.start()
        with cluster.client() as db:
            check(db, ledgers)
            assert db.count() == sum(1 for ledger in ledgers for number in ledger.acknowledged.values() if number)
    finally:
        cluster.close()
    assert sum(ledger.replies for ledger in ledgers) > 100 * ROUNDS // len(POLICIES)
