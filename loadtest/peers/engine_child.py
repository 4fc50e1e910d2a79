"""One measurement of one engine in a process of its own; the result is one JSON object on stdout.

    python -m peers.engine_child '{"task": "rates", "engine": "Sherd", "directory": ..., "keys": ..., ...}'

Keys are 16 random bytes and values incompressible, both the same for every engine: they follow from the seed.
"""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from peers.cpu import written_bytes
from peers.engines import ENGINES, EngineSettings, Pair

KEY_BYTES = 16
POOL_BYTES = 1 << 20
BATCH, SYNCED_BATCH, SCAN_ROWS = 1000, 100, 1000
SYNCED_PUTS, SYNCED_BATCHES, SCANS = 1000, 200, 300
REPLAY_MEMTABLE_BYTES = 256 << 20
CALM_SECONDS, CALM_SECONDS_MAX = 1.0, 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to do. ``puts_per_batch`` is of write amplification."""

    task: str
    engine: str
    directory: str
    keys: int = 100_000
    value_bytes: int = 100
    seed: int = 1
    cache_bytes: int = 512 << 20
    puts_per_batch: int = 1

    @property
    def where(self) -> Path:
        return Path(self.directory)

    def settings(self, *, synced: bool = False) -> EngineSettings:
        return EngineSettings(cache_bytes=self.cache_bytes, synced=synced)

    def pairs(self, count: int | None = None) -> Iterator[Pair]:
        """``count``, or ``keys``, random pairs."""
        rng = random.Random(self.seed)
        pool = rng.randbytes(POOL_BYTES + self.value_bytes)
        for _ in range(self.keys if count is None else count):
            start = rng.randrange(POOL_BYTES)
            yield rng.randbytes(KEY_BYTES), pool[start : start + self.value_bytes]


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def batched(pairs: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    """Lists of ``size`` pairs, the last perhaps shorter."""
    source = iter(pairs)
    while group := list(islice(source, size)):
        yield group


def exhaust(rows: Iterable[object]) -> int:
    """Read all rows; how many they were."""
    return sum(1 for _ in rows)


def fresh(directory: Path) -> Path:
    """An empty directory of that name."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def rates(order: Order) -> dict[str, float]:
    """Everything but recovery, by the row's name."""
    pairs = list(order.pairs())
    return {**_single_puts(order, pairs), **_synced(order, pairs), **_batches_and_reads(order, pairs)}


def _single_puts(order: Order, pairs: list[Pair]) -> dict[str, float]:
    engine = ENGINES[order.engine](fresh(order.where / "puts"), order.settings())
    put = engine.put
    started = time.perf_counter()
    for key, value in pairs:
        put(key, value)
    seconds = time.perf_counter() - started
    engine.close()
    return {"put": len(pairs) / seconds}


def _synced(order: Order, pairs: list[Pair]) -> dict[str, float]:
    engine = ENGINES[order.engine](fresh(order.where / "synced"), order.settings(synced=True))
    put = engine.put
    singles = pairs[:SYNCED_PUTS]
    started = time.perf_counter()
    for key, value in singles:
        put(key, value)
    single_seconds = time.perf_counter() - started
    groups = list(batched(pairs[: SYNCED_BATCHES * SYNCED_BATCH], SYNCED_BATCH))
    batch_seconds = seconds_of(lambda: [engine.put_many(group) for group in groups])
    engine.close()
    return {
        "synced put": len(singles) / single_seconds,
        "synced batch of 100": sum(map(len, groups)) / batch_seconds,
    }


def _batches_and_reads(order: Order, pairs: list[Pair]) -> dict[str, float]:
    where = fresh(order.where / "batches")
    engine = ENGINES[order.engine](where, order.settings())
    found: dict[str, float] = {}
    groups = list(batched(pairs, BATCH))
    found["batch of 1,000"] = len(pairs) / seconds_of(lambda: [engine.put_many(group) for group in groups])
    engine.compact()
    for group in groups:  # over what lies compacted, so that all of it has to be merged
        engine.put_many(group)
    user_mb = 2 * len(pairs) * (KEY_BYTES + order.value_bytes) / 1e6
    found["compaction"] = user_mb / seconds_of(engine.compact)
    engine.close()
    started = time.perf_counter()
    engine = ENGINES[order.engine](where, order.settings())
    engine.get(pairs[0][0])
    found["open"] = (time.perf_counter() - started) * 1e3
    if exhaust(engine.rows()) != len(pairs):  # warms the caches, too
        raise RuntimeError(f"{order.engine} does not have what was put")
    found["full scan"] = len(pairs) / seconds_of(lambda: exhaust(engine.rows()))
    rng = random.Random(order.seed + 1)
    sample = rng.choices(pairs, k=len(pairs))
    found["random warm get"] = len(sample) / _gets(engine.get, sample)
    starts = [key for key, _ in rng.choices(pairs, k=SCANS)]
    found["scan of 1,000"] = SCANS / seconds_of(lambda: [exhaust(engine.some_rows(s, SCAN_ROWS)) for s in starts])
    engine.close()
    return found


def _gets(get: Callable[[bytes], object], sample: list[Pair]) -> float:
    """Seconds for all; the last is compared with what was put."""
    keys = [key for key, _ in sample]
    started = time.perf_counter()
    for key in keys:
        value = get(key)
    seconds = time.perf_counter() - started
    if value != sample[-1][1]:
        raise RuntimeError("a get did not return what was put")
    return seconds


def fill_log(order: Order) -> dict[str, float]:
    """Write to the log only, and end like a killed process."""
    settings = EngineSettings(memtable_bytes=REPLAY_MEMTABLE_BYTES, cache_bytes=order.cache_bytes)
    engine = ENGINES[order.engine](fresh(order.where / "replay"), settings)
    for group in batched(order.pairs(), SYNCED_BATCH):
        engine.put_many(group)
    print("{}", flush=True)
    os._exit(0)


def replay(order: Order) -> dict[str, float]:
    """Open what ``fill_log`` left."""
    settings = EngineSettings(memtable_bytes=REPLAY_MEMTABLE_BYTES, cache_bytes=order.cache_bytes)
    *_, (last, _) = order.pairs()
    started = time.perf_counter()
    engine = ENGINES[order.engine](order.where / "replay", settings)
    there = engine.get(last) is not None
    seconds = time.perf_counter() - started
    engine.close()
    if not there:
        raise RuntimeError(f"{order.engine} lost what a killed process had written")
    return {"seconds": seconds}


def amplification(order: Order) -> dict[str, float]:
    """Bytes passed to write calls per byte of keys and values, when background work has come to rest."""
    before = written_bytes()
    settings = EngineSettings(cache_bytes=order.cache_bytes, background=False)  # only this process's writes are counted
    engine = ENGINES[order.engine](fresh(order.where / "amplification"), settings)
    pairs = order.pairs()
    if order.puts_per_batch == 1:
        for key, value in pairs:
            engine.put(key, value)
    else:
        for group in batched(pairs, order.puts_per_batch):
            engine.put_many(group)
    _rest()
    engine.close()
    return {"amplification": (written_bytes() - before) / (order.keys * (KEY_BYTES + order.value_bytes))}


def _rest() -> None:
    """Until nothing has been written for a while."""
    deadline = time.monotonic() + CALM_SECONDS_MAX
    last = -1
    while (now := written_bytes()) != last and time.monotonic() < deadline:
        last = now
        time.sleep(CALM_SECONDS)


TASKS: dict[str, Callable[[Order], dict[str, float]]] = {
    "rates": rates,
    "fill_log": fill_log,
    "replay": replay,
    "amplification": amplification,
}


def main() -> int:
    order = Order(**json.loads(sys.argv[1]))
    print(json.dumps(TASKS[order.task](order)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
