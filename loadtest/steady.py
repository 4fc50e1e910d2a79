"""Is a cluster predictable? Random writes at a share of the highest rate it sustains, while it flushes and compacts.

    python loadtest/steady.py [--seconds 600] [--share 0.7]

Starts a cluster of its own, fills it until flushes and compactions run, finds the rate that it sustains in a closed
loop of one request in flight on each connection, over a time in which every shard flushes and compacts several times
(a rate of a few seconds is not sustained: its compactions come later), then offers ``--share`` of that rate in an open
loop, where latency counts from when a request was due. (With more in flight a closed loop is faster, because it sends
in bunches, which an open loop does not: its rate says nothing of what can be offered.)
Prints p99.9 and the longest time without any reply; exits 1 if they are over 10 ms or 50 ms, or if anything failed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench_run import bench

from sherd.testing import Cluster

P999_US_MAX = 10_000
GAP_MS_MAX = 50.0
KEYS = 20_000_000
LOAD = ("--workload", "set", "--keys", str(KEYS))


def sustained(address: str, load: tuple[str, ...], seconds: float) -> float:
    """Requests/s, once the memory that only fills at first has been filled."""
    bench(address, *load, "--pipeline", "16", "--seconds", str(seconds))
    return float(bench(address, *load, "--seconds", str(seconds))["per_second"])


def main() -> int:
    """Measure, report, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the measured load [600]")
    parser.add_argument("--warm-up", type=float, default=120.0, help="seconds of each run that finds the rate [120]")
    parser.add_argument("--share", type=float, default=0.7, help="of the sustained rate to offer [0.7]")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--data", type=Path, default=None, help="where to keep the data [a temporary folder]")
    parser.add_argument("--report-only", action="store_true", help="do not judge latencies")
    given = parser.parse_args()
    load = (*LOAD, "--connections", str(given.connections))
    with tempfile.TemporaryDirectory() as folder:
        data = given.data or Path(folder) / "data"
        with Cluster(shards=given.shards, data=data, flags=["--fsync=interval:1s"]) as cluster, cluster.client() as db:
            highest = sustained(cluster.address, load, given.warm_up)
            offered = given.share * highest
            print(f"sustained {highest:,.0f} sets/s; offering {offered:,.0f}/s for {given.seconds:.0f} s", flush=True)
            report = bench(
                cluster.address, *load, "--rate", str(int(offered)), "--pipeline", "64", "--seconds", str(given.seconds)
            )
            shards = db.status()["shards"]
    print(
        f"answered {report['per_second']:,.0f}/s  p50 {report['p50_us'] / 1000:.2f} ms  "
        f"p99 {report['p99_us'] / 1000:.2f} ms  p99.9 {report['p999_us'] / 1000:.2f} ms  "
        f"max {report['max_us'] / 1000:.1f} ms  longest gap {report['longest_gap_ms']:.1f} ms  "
        f"behind {report['behind_max_ms']:.1f} ms  errors {report['errors']}  "
        f"tables {sum(shard['tables'] for shard in shards)}  "
        f"write amplification {max(shard['write_amplification'] for shard in shards)}"
    )
    if report["errors"]:
        return 1
    good = report["p999_us"] <= P999_US_MAX and report["longest_gap_ms"] <= GAP_MS_MAX
    return 0 if good or given.report_only else 1


if __name__ == "__main__":
    sys.exit(main())
