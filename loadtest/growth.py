"""Does a shard take random writes as fast at its tenth million keys as at its first?

    python loadtest/growth.py [--millions 10] [--pipeline 16]

A cluster of one shard gets a million random sets at a time, nearly all of new keys, in a closed loop of 50 connections.
Prints the rate of each million; exits 1 if the last is more than 30 % below the first, or if anything failed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench_run import bench

from sherd.testing import Cluster

STEP = 1_000_000
FALL_MAX = 0.3
KEYS = 1_000_000_000  # drawn from so many, few are drawn twice


def main() -> int:
    """Measure, report, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=10)
    parser.add_argument("--step", type=int, default=STEP, help="sets whose rate is one line [1000000]")
    parser.add_argument("--pipeline", type=int, default=16, help="requests in flight a connection [16]")
    parser.add_argument("--report-only", action="store_true", help="do not judge the rates")
    given = parser.parse_args()
    rates: list[float] = []
    errors = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(shards=1, data=Path(folder) / "data", flags=["--fsync=interval:1s"]) as cluster,
        cluster.client() as db,
    ):
        for number in range(1, given.millions + 1):
            report = bench(
                cluster.address,
                *("--workload", "set", "--keys", str(KEYS), "--seed", str(number), "--warmup", "0"),
                *("--requests", str(given.step), "--seconds", "600", "--pipeline", str(given.pipeline)),
            )
            rates.append(float(report["per_second"]))
            errors += int(report["errors"])
            (shard,) = db.status()["shards"]
            print(
                f"{number:>3} x {given.step:,}  {rates[-1]:>10,.0f} sets/s  {rates[-1] / rates[0]:.2f} of the first  "
                f"tables {shard['tables']}  write amplification {shard['write_amplification']}",
                flush=True,
            )
    print(f"last / first {rates[-1] / rates[0]:.2f}  lowest / first {min(rates) / rates[0]:.2f}  errors {errors}")
    if errors:
        return 1
    return 0 if given.report_only or rates[-1] >= (1 - FALL_MAX) * rates[0] else 1


if __name__ == "__main__":
    sys.exit(main())
