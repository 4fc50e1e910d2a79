"""Data larger than memory: a shard's resident memory stays in its bound, and reads are never held up.

Random writes, then random reads, of many times what memtable and cache hold. The bound, per shard: cache + 3
memtables + 2 % of the data + 64 MiB. SHERD_LARGE_MB sets the size (2048 by `make soak`).
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sherd import Client
from sherd.testing import Cluster

MIB = 1 << 20
MEMTABLE_BYTES = 8 * MIB
CACHE_BYTES = 32 * MIB
VALUE_BYTES = 1000
BATCH_KEYS = 200
TOTAL_BYTES = int(os.environ.get("SHERD_LARGE_MB", "96")) * MIB
READ_STALL_MS_MAX = 100.0
SAMPLE_SECONDS = 0.01
WATCH = Path(__file__).parent.parent / "support" / "read_watch.py"


def value_of(number: int) -> bytes:
    """Incompressible and known from the key."""
    return random.Random(number).randbytes(VALUE_BYTES)


def write_all(db: Client, numbers: list[int]) -> None:
    for start in range(0, len(numbers), BATCH_KEYS):
        with db.pipeline() as p:
            for number in numbers[start : start + BATCH_KEYS]:
                p.put(f"k{number:012}", value_of(number))


def read_all(db: Client, numbers: list[int]) -> None:
    for start in range(0, len(numbers), BATCH_KEYS):
        some = numbers[start : start + BATCH_KEYS]
        for number, value in zip(some, db.mget([f"k{number:012}" for number in some]), strict=True):
            assert value == value_of(number)


@pytest.mark.timeout(3600)
def test_memory_stays_bounded_and_reads_are_not_held_up(tmp_path: Path) -> None:
    numbers = list(range(TOTAL_BYTES // VALUE_BYTES))
    rng = random.Random(8)
    settings = {"engine.memtable_bytes": MEMTABLE_BYTES, "engine.cache_bytes": CACHE_BYTES}
    with Cluster(shards=1, data=tmp_path / "data", settings=settings) as cluster, cluster.client(timeout=30.0) as db:
        pid = db.status()["shards"][0]["leader"]["pid"]
        command = [sys.executable, str(WATCH), cluster.address, str(pid), str(SAMPLE_SECONDS)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watch:
            rng.shuffle(numbers)
            write_all(db, numbers)
            rng.shuffle(numbers)
            read_all(db, numbers)
            seen = json.loads(watch.communicate()[0])
        status = db.status()["shards"][0]
    bound = CACHE_BYTES + 3 * MEMTABLE_BYTES + TOTAL_BYTES // 50 + 64 * MIB
    resident, reads_ms = seen["resident_bytes_max"], sorted(seen["reads_ms"])
    print(
        f"data {TOTAL_BYTES // MIB} MiB, resident at most {resident // MIB} MiB of {bound // MIB} MiB, "
        f"{len(reads_ms)} timed reads, slowest {[round(read) for read in reads_ms[-5:]]} ms, "
        f"tables {status['tables']}, write amplification {status['write_amplification']}"
    )
    assert resident <= bound
    assert len(reads_ms) > 20
    assert reads_ms[-1] < READ_STALL_MS_MAX
