"""What a request costs, hence what a larger machine would do: a paper model, checked with processes pinned to one core.

    python loadtest/cost_model.py [--seconds 4] [--keys 1000000]

The whole cluster (a proxy, four shards, their janitors) is pinned to one core and the generator to another. The model
says that such a cluster answers 1 / (proxy's + shards' processor time a request) a second; beside it stands what was
measured. If they agree, nothing but processor time limits it, and proxies and shards can be counted for any load: one
core of proxies answers 1 / proxy's time, one core of shards 1 / shards' time.
"""

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_run import bench
from peers.cpu import Usage

from sherd.testing import Cluster

PIPELINES = (1, 16, 64)
CONNECTIONS = 50
LOAD_OF_THE_EXAMPLE = 1_000_000


def measure(address: str, workload: str, pipeline: int, seconds: float, keys: int) -> tuple[float, float, float]:
    """Requests/s, and microseconds of processor time a request at the proxy and at the shards with their janitors."""
    options = ("--connections", str(CONNECTIONS), "--pipeline", str(pipeline), "--keys", str(keys), "--warmup", "0")
    before = Usage.of([os.getpid()])
    report = bench(address, "--workload", workload, "--seconds", str(seconds), *options)
    used = Usage.of([os.getpid()]).since(before)
    each = 1e6 / report["requests"]
    shards = used.get("shard", 0.0) + used.get("janitor", 0.0)
    return report["per_second"], used["proxy"] * each, shards * each


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each row [4]")
    parser.add_argument("--keys", type=int, default=1_000_000, help="distinct keys [1000000]")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("this needs two cores", file=sys.stderr)
        return 2
    print("| workload | in flight | proxy us | shards us | model /s | measured /s | measured / model | for 1 M/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.sched_setaffinity(0, {cores[1]})  # what the cluster's processes inherit
        with (
            Cluster(shards=4, data=Path(folder) / "data", flags=["--fsync=interval:1s"]) as cluster,
            cluster.client(timeout=600.0) as db,
        ):
            os.sched_setaffinity(0, {cores[0]})
            bench(cluster.address, "--workload", "load", "--keys", str(given.keys))
            for workload in ("get", "set"):
                db.flush()
                db.compact()
                for pipeline in PIPELINES:
                    rate, proxy_us, shards_us = measure(cluster.address, workload, pipeline, given.seconds, given.keys)
                    model = 1e6 / (proxy_us + shards_us)
                    proxies = math.ceil(LOAD_OF_THE_EXAMPLE * proxy_us / 1e6)
                    shards = math.ceil(LOAD_OF_THE_EXAMPLE * shards_us / 1e6)
                    print(
                        f"| {workload} | {pipeline} | {proxy_us:.2f} | {shards_us:.2f} | {model:,.0f} | {rate:,.0f} "
                        f"| {rate / model:.2f} | {proxies} proxies, {shards} shards |",
                        flush=True,
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
