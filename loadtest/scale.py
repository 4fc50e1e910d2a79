"""How one engine's costs grow with its data: put, get, scan, opening, memory, disk, write amplification.

    python loadtest/scale.py [--keys 1000000,10000000,50000000] [--cache-mb 64] [--out FILE]

Each size gets an engine of its own (`sherd.Store` with a janitor process), filled in random order with 16-byte keys and
100-byte values of noise, in batches of 100. Gets are random and come after a compaction and a scan of everything, so
that what they read is in the page cache if it fits there; only `--cache-mb` of it is in the engine's own. `slowest` is
the lowest rate of the fill over a million keys, relative to the first million: what flushes and compactions take.
"""

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sherd import Store

BATCH = 100
STEP = 1_000_000
VALUE_BYTES = 100
NOISE = random.Random(1).randbytes(1 << 20)
STRIDE = 2_654_435_761  # a prime, so that multiples of it visit every key once
POINTS = 200_000
SCANS, SCAN_ROWS = 500, 1000
HEADS = (
    *("keys", "put us", "slowest million / first", "get us", "of the smallest", "absent us", "scan of 1,000 us"),
    *("full scan rows/s", "open ms", "memory MB", "disk MB", "write amplification"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured with ``keys`` keys. ``put_us`` is of the fill, flushes and compactions beside it included."""

    keys: int
    put_us: float
    slowest_million: float
    get_us: float
    get_absent_us: float
    scan_us: float
    full_scan_rows_per_s: float
    open_ms: float
    rss_mb: float
    disk_mb: float
    write_amplification: float


def key_of(number: int) -> bytes:
    return b"%016d" % number


def value_of(number: int) -> bytes:
    at = number * 101 % (len(NOISE) - VALUE_BYTES)
    return NOISE[at : at + VALUE_BYTES]


def fill(store: Store, keys: int) -> tuple[float, float]:
    """Microseconds a put, and the rate of the slowest million over that of the first."""
    rates: list[float] = []
    began = started = time.perf_counter()
    for first in range(0, keys, BATCH):
        numbers = [i * STRIDE % keys for i in range(first, min(first + BATCH, keys))]
        store.batch([("put", key_of(number), value_of(number)) for number in numbers])
        if (first + BATCH) % STEP == 0:
            now = time.perf_counter()
            rates.append(STEP / (now - started))
            print(f"  {first + BATCH:>12,} keys  {rates[-1]:>10,.0f} puts/s", file=sys.stderr, flush=True)
            started = now
    seconds = time.perf_counter() - began
    return seconds / keys * 1e6, min(rates) / rates[0] if rates else 1.0


def get_us(store: Store, numbers: list[int], *, present: bool) -> float:
    """Microseconds a get of random keys; SystemExit if an answer is wrong."""
    wanted = [key_of(number) if present else key_of(number) + b"x" for number in numbers]
    get = store.get
    started = time.perf_counter()
    found = [get(key) for key in wanted]
    seconds = time.perf_counter() - started
    if found != [value_of(number) if present else None for number in numbers]:
        raise SystemExit("a get did not answer what was put")
    return seconds / len(numbers) * 1e6


def scan_us(store: Store, keys: int, rng: random.Random) -> float:
    """Microseconds a scan of ``SCAN_ROWS`` rows from a random key."""
    starts = [key_of(rng.randrange(max(1, keys - SCAN_ROWS))) for _ in range(SCANS)]
    started = time.perf_counter()
    for start in starts:
        rows = sum(1 for _ in store.scan(start, limit=SCAN_ROWS))
        if rows != min(SCAN_ROWS, keys):
            raise SystemExit(f"a scan gave {rows} rows")
    return (time.perf_counter() - started) / SCANS * 1e6


def resident_mb() -> float:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure(directory: Path, keys: int, cache_mb: int) -> Size:
    """Fill a store with ``keys`` keys and measure everything."""
    rng = random.Random(keys)
    cache_bytes = cache_mb << 20
    store = Store.open(directory, janitor=True, cache_bytes=cache_bytes)
    put_us, slowest = fill(store, keys)
    store.flush()
    store.compact()
    amplification = float(store.status()["write_amplification"])
    store.close()
    started = time.perf_counter()
    store = Store.open(directory, janitor=True, cache_bytes=cache_bytes)
    store.get(key_of(0))
    open_ms = (time.perf_counter() - started) * 1e3
    started = time.perf_counter()
    rows = sum(1 for _ in store.scan())
    scanned = rows / (time.perf_counter() - started)
    if rows != keys:
        raise SystemExit(f"{rows} of {keys} keys are there")
    numbers = [rng.randrange(keys) for _ in range(POINTS)]
    get_us(store, numbers, present=True)  # tables that had not been opened are now
    size = Size(
        keys=keys,
        put_us=put_us,
        slowest_million=slowest,
        get_us=get_us(store, [rng.randrange(keys) for _ in range(POINTS)], present=True),
        get_absent_us=get_us(store, numbers, present=False),
        scan_us=scan_us(store, keys, rng),
        full_scan_rows_per_s=scanned,
        open_ms=open_ms,
        rss_mb=resident_mb(),
        disk_mb=sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6,
        write_amplification=amplification,
    )
    store.close()
    return size


def table(sizes: list[Size]) -> str:
    """Markdown: a row a size, with gets relative to the first."""
    lines = [
        f"| {' | '.join(HEADS)} |",
        "|" + len(HEADS) * "---:|",
    ]
    lines += [
        f"| {size.keys:,} | {size.put_us:.2f} | {size.slowest_million:.2f} | {size.get_us:.2f} "
        f"| {size.get_us / sizes[0].get_us:.2f}x | {size.get_absent_us:.2f} | {size.scan_us:.0f} "
        f"| {size.full_scan_rows_per_s:,.0f} | {size.open_ms:.1f} | {size.rss_mb:.0f} | {size.disk_mb:.0f} "
        f"| {size.write_amplification:.2f} |"
        for size in sizes
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure every size, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", default="1000000,10000000,50000000", help="sizes, ascending")
    parser.add_argument("--cache-mb", type=int, default=64, help="the engine's block cache [64, as by default]")
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON, too")
    parser.add_argument("--data", type=Path, default=None, help="where to keep the data [a temporary folder]")
    given = parser.parse_args()
    sizes: list[Size] = []
    with tempfile.TemporaryDirectory(dir=given.data) as folder:
        for keys in map(int, given.keys.split(",")):
            print(f"{keys:,} keys", file=sys.stderr, flush=True)
            directory = Path(folder) / str(keys)
            sizes.append(measure(directory, keys, given.cache_mb))
            shutil.rmtree(directory)
    if given.out is not None:
        given.out.write_text(json.dumps([asdict(size) for size in sizes], indent=1))
    print(table(sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
