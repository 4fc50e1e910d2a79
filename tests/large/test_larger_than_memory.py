"""Data larger than memory: a shard's resident memory stays in its bound, and reads are never held up.

Random writes, then random reads, of many times what memtable and cache hold. The bound, per shard: cache + 3
memtables + 2 % of the data + 64 MiB. SHERD_LARGE_MB sets the size (2048 by `make soak`).
"""

import os
import random
import threading
import time
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
SAMPLE_SECONDS = 0.05


def resident_bytes(pid: int) -> int:
    """VmRSS of a process: what it has in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no VmRSS")


class Watch(threading.Thread):
    """Samples a process's memory, and times a read of one key through a client of its own, until stopped."""

    def __init__(self, address: str, pid: int) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._pid = pid
        self._halt = threading.Event()
        self.resident_bytes_max = 0
        self.reads_ms: list[float] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with Client(self._address) as db:
                while not self._halt.wait(SAMPLE_SECONDS):
                    self.resident_bytes_max = max(self.resident_bytes_max, resident_bytes(self._pid))
                    started = time.perf_counter()
                    db.get(f"k{random.randrange(1000):012}")
                    self.reads_ms.append((time.perf_counter() - started) * 1000)
        except Exception as error:  # noqa: BLE001  a thread's edge: the test raises it
            self.failure = error

    def finish(self) -> None:
        self._halt.set()
        self.join(30)
        if self.failure is not None:
            raise self.failure


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
        watch = Watch(cluster.address, pid)
        watch.start()
        rng.shuffle(numbers)
        write_all(db, numbers)
        rng.shuffle(numbers)
        read_all(db, numbers)
        watch.finish()
        status = db.status()["shards"][0]
    bound = CACHE_BYTES + 3 * MEMTABLE_BYTES + TOTAL_BYTES // 50 + 64 * MIB
    slowest = sorted(watch.reads_ms)[-5:]
    print(
        f"data {TOTAL_BYTES // MIB} MiB, resident at most {watch.resident_bytes_max // MIB} MiB of {bound // MIB} MiB, "
        f"{len(watch.reads_ms)} timed reads, slowest {slowest} ms, tables {status['tables']}, "
        f"write amplification {status['write_amplification']}"
    )
    assert watch.resident_bytes_max <= bound
    assert len(watch.reads_ms) > 20
    assert slowest[-1] < READ_STALL_MS_MAX
