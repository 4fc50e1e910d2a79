"""Fills clusters with a real data set, reads everything back and compares: hash and range, whole and in pages.

    python loadtest/debian_packages.py > packages.jsonl
    python loadtest/real_data.py packages.jsonl

Each cluster is real: `sherd up` with four shards, filled by `sherd import`. Compared with the source file, sorted
here independently: every record by `get`, the whole cluster by scan and export, the keys of one prefix forwards and in
reverse, in pages of 7 and unpaged, and each shard's share of the keys. Exits 1 and says what differs if anything does.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sherd import Client
from sherd.testing import Cluster

SHARDS = 4
SHARE_TOLERANCE = 0.25
PREFIX = "python3-"
PAGE_ROWS = 7
BATCH_KEYS = 500

Records = dict[bytes, object]


class Mismatch(Exception):
    """What was read is not what was written."""


def read_source(path: Path) -> Records:
    """Key to value of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        return {line["key"].encode(): line["value"] for line in map(json.loads, lines)}


def expect(what: str, found: object, wanted: object) -> None:
    """Raise Mismatch unless ``found`` equals ``wanted``."""
    if found != wanted:
        raise Mismatch(f"{what}: {str(found)[:200]} instead of {str(wanted)[:200]}")


def check_records(db: Client, source: Records) -> None:
    """Every record by key."""
    keys = list(source)
    for start in range(0, len(keys), BATCH_KEYS):
        some = keys[start : start + BATCH_KEYS]
        for key, value in zip(some, db.mget(some), strict=True):
            expect(f"value of {key!r}", value, source[key])
    for key in keys[:: max(1, len(keys) // 1000)]:
        expect(f"get of {key!r}", db.get(key), source[key])


def pages(db: Client, prefix: str, reverse: bool) -> Iterator[bytes]:
    """The keys of a prefix, fetched PAGE_ROWS at a time by the bounds alone."""
    start: bytes | None = None
    end: bytes | None = None
    while True:
        page = list(db.scan(start, end, prefix=prefix, reverse=reverse, limit=PAGE_ROWS, keys_only=True))
        yield from page
        if len(page) < PAGE_ROWS:
            return
        if reverse:
            end = page[-1]
        else:
            start = page[-1] + b"\0"


def check_ranges(db: Client, source: Records) -> None:
    """The prefix and the whole, in both directions, paged and unpaged."""
    everything = sorted(source)
    wanted = [key for key in everything if key.startswith(PREFIX.encode())]
    expect("count", db.count(), len(everything))
    expect("count of the prefix", db.count(prefix=PREFIX), len(wanted))
    expect("whole scan", list(db.scan()), [(key, source[key]) for key in everything])
    expect("whole scan reversed", list(db.scan(reverse=True, keys_only=True)), everything[::-1])
    for reverse in (False, True):
        ordered = wanted[::-1] if reverse else wanted
        unpaged = list(db.scan(prefix=PREFIX, reverse=reverse, keys_only=True))
        expect(f"scan of {PREFIX} reverse={reverse}", unpaged, ordered)
        expect(f"scan of {PREFIX} in pages reverse={reverse}", list(pages(db, PREFIX, reverse)), ordered)
        small = list(db.scan(prefix=PREFIX, reverse=reverse, keys_only=True, page_bytes=1))
        expect(f"scan of {PREFIX} a row a page reverse={reverse}", small, ordered)


def check_shares(db: Client, count: int, even: bool) -> list[int]:
    """Keys on each shard after a flush; in hash mode each within 25 % of the mean, else all of them together."""
    db.flush()
    status = db.status()
    keys = [int(shard["keys"]) for shard in status["shards"]]
    mean = count / len(keys)
    if even and any(abs(found - mean) > SHARE_TOLERANCE * mean for found in keys):
        raise Mismatch(f"shares {keys} are not within {SHARE_TOLERANCE:.0%} of {mean:.0f}")
    expect("keys on all shards", sum(keys), count)
    return keys


def run(path: Path, source: Records, split_at: list[str]) -> None:
    """One cluster, filled and compared, stopped, started and compared again."""
    partition = "range" if split_at else "hash"
    with Cluster(shards=SHARDS, partition=partition, split_at=split_at) as cluster:
        started = time.perf_counter()
        command = [sys.executable, "-m", "sherd.cli.main", "import", str(path), "--connect", cluster.address]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        print(f"  imported {len(source):,} records in {seconds:.1f} s", flush=True)
        with cluster.client() as db:
            check_records(db, source)
            check_ranges(db, source)
            print(f"  keys on each shard: {check_shares(db, len(source), even=not split_at)}", flush=True)
        cluster.restart()
        with cluster.client() as db:
            check_ranges(db, source)
    print("  every record and range equals the source, also after a restart", flush=True)


def main() -> int:
    """Compare the file with a hash and a range cluster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    source = read_source(path)
    ordered = sorted(source)
    quartiles = [ordered[len(ordered) * part // SHARDS].decode() for part in range(1, SHARDS)]
    for name, split_at in (("hash", []), ("range", quartiles)):
        print(f"{name} {','.join(split_at)}", flush=True)
        try:
            run(path, source, split_at)
        except Mismatch as error:
            print(f"  DIFFERS: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
