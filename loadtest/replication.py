"""What does a follower cost? Random writes with none, with one, and with one that is waited for, on the same machine.

    python loadtest/replication.py [--rounds 5] [--seconds 4]

In each round every kind of cluster runs once, in an order that is turned around from round to round: machines are
noisy, so only ratios within a round count, and their median is told. Prints requests/s as ratios to no follower, with
16 requests in flight on each connection and with one, and the latency of a lone connection. Exits 1 if one follower
under ``leader`` costs more than 40 % of the throughput, if the median of a lone ``insync`` write takes over 2 ms, or if
anything failed.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench_run import bench

from sherd.testing import Cluster

KINDS = {"none": ["--followers=0"], "leader": ["--followers=1"], "insync": ["--followers=1", "--acks=insync"]}
LOAD = ("--workload", "set", "--keys", "1000000")
RATIO_MIN = 0.6
LIGHT_US_MAX = 2000.0


@dataclass(frozen=True)
class Run:
    """Of one cluster: sets/s with 16 in flight and with one, µs of a lone connection's median, errors."""

    many: float
    single: float
    light_us: float
    errors: int


def measure(flags: list[str], shards: int, seconds: float) -> Run:
    """A cluster of its own under three loads."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--fsync=interval:1s", *flags]
        with Cluster(shards=shards, data=Path(folder) / "data", flags=options) as cluster:
            load = (*LOAD, "--seconds", str(seconds))
            many = bench(cluster.address, *load, "--pipeline", "16")
            single = bench(cluster.address, *load)
            light = bench(cluster.address, *load, "--connections", "1")
    errors = sum(int(report["errors"]) for report in (many, single, light))
    return Run(many["per_second"], single["per_second"], light["p50_us"], errors)


def main() -> int:
    """Measure, report, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each of the three loads [4]")
    parser.add_argument("--shards", type=int, default=4)
    given = parser.parse_args()
    rounds: list[dict[str, Run]] = []
    for number in range(given.rounds):
        order = list(KINDS)[:: 1 if number % 2 == 0 else -1]
        runs = {kind: measure(KINDS[kind], given.shards, given.seconds) for kind in order}
        rounds.append(runs)
        for kind, run in runs.items():
            print(f"{number + 1} {kind:7} x16 {run.many:9,.0f}/s  x1 {run.single:9,.0f}/s  lone {run.light_us:5.0f} us")
    ratios = {
        (kind, load): statistics.median(getattr(runs[kind], load) / getattr(runs["none"], load) for runs in rounds)
        for kind in ("leader", "insync")
        for load in ("many", "single")
    }
    light_us = statistics.median(runs["insync"].light_us for runs in rounds)
    for kind in ("leader", "insync"):
        print(f"{kind}: {ratios[kind, 'many']:.2f} of none with 16 in flight, {ratios[kind, 'single']:.2f} with one")
    print(f"a lone insync write takes {light_us:.0f} us in the median")
    errors = sum(run.errors for runs in rounds for run in runs.values())
    good = min(ratios["leader", "many"], ratios["leader", "single"]) >= RATIO_MIN and light_us <= LIGHT_US_MAX
    return 0 if good and not errors else 1


if __name__ == "__main__":
    sys.exit(main())
