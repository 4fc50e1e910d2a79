"""Engines in this machine's Python: every measurement in a fresh process, engines in alternation."""

import shutil
from collections.abc import Iterable
from dataclasses import asdict

from peers.alternation import in_turns, tell
from peers.child import run_child
from peers.engine_child import KEY_BYTES, Order
from peers.engines import ENGINES, LOGGED
from peers.quiet import Watch
from peers.rows import SHERD, Better, Results, Sample
from peers.settings import Settings

VALUE_BYTES = 100
KILL_LOG_BYTES = 64 << 20

RATE_ROWS: dict[str, tuple[str, Better]] = {
    "put": ("puts/s", "higher"),
    "batch of 1,000": ("puts/s", "higher"),
    "synced put": ("puts/s", "higher"),
    "synced batch of 100": ("puts/s", "higher"),
    "random warm get": ("gets/s", "higher"),
    "full scan": ("rows/s", "higher"),
    "scan of 1,000": ("scans/s", "higher"),
    "compaction": ("MB/s", "higher"),
    "open": ("ms", "lower"),
}


def run_task(order: Order) -> dict[str, float]:
    """One measurement of an engine; what it left on disk is removed, but for a log that is yet to be replayed."""
    found = run_child("peers.engine_child", asdict(order))
    if order.task != "fill_log":
        shutil.rmtree(order.where, ignore_errors=True)
    return found


def present(settings: Settings, results: Results, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that can take part; the others are named absent."""
    able = []
    for name in names:
        reason = ENGINES[name].absent()
        if reason is None and not settings.peers and name != SHERD:
            reason = "peers were not asked for"
        if reason is None:
            able.append(name)
        else:
            results.absent[name] = reason
    return able


def engine_section(settings: Settings, results: Results) -> None:
    """Rates, opening, and replay of a log that a killed process left."""
    rows = {name: results.open_row("engines", name, unit, better) for name, (unit, better) in RATE_ROWS.items()}
    for name in in_turns(settings.rounds, present(settings, results, ENGINES)):
        order = Order("rates", name, str(settings.work / "engine"), settings.engine_keys, VALUE_BYTES)
        watch = Watch.start()
        found = run_task(order)
        detail = watch.detail()
        for row_name, value in found.items():
            rows[row_name].add(name, Sample(value, {}, detail))
    _replay(settings, results)
    results.remarks.append(
        f"Engines: {settings.engine_keys:,} random {KEY_BYTES}-byte keys, {VALUE_BYTES}-byte incompressible values, "
        "64 MiB memtable, 512 MiB cache, 10-bit filters for all; unsynced rows leave syncing to the kernel. "
        "RocksDB and LevelDB compact in threads of their own, Sherd's Store in its janitor process. "
        "compaction: user bytes, old and new, per second of bringing all to the bottom level after all keys that "
        "lay compacted were put again."
    )
    tell(rows.values())


def _replay(settings: Settings, results: Results) -> None:
    keys = min(settings.engine_keys, KILL_LOG_BYTES // (KEY_BYTES + VALUE_BYTES) + 1)
    whole = keys * (KEY_BYTES + VALUE_BYTES) >= KILL_LOG_BYTES
    rate = results.open_row("engines", "WAL replay", "puts/s")
    opened = results.open_row("engines", "open after kill" if whole else "open after kill, smaller log", "s", "lower")
    for name in in_turns(settings.rounds, present(settings, results, LOGGED)):
        where = str(settings.work / "engine")
        run_task(Order("fill_log", name, where, keys, VALUE_BYTES))
        watch = Watch.start()
        seconds = run_task(Order("replay", name, where, keys, VALUE_BYTES))["seconds"]
        detail = watch.detail()
        rate.add(name, Sample(keys / seconds, {}, detail))
        opened.add(name, Sample(seconds, {}, detail))
    tell([rate, opened])


def amplification_section(settings: Settings, results: Results) -> None:
    """Bytes written for each byte of random puts, single and in batches."""
    for puts_per_batch, title in ((1, "puts"), (100, "batches of 100")):
        row = results.open_row("amplification", f"write amplification, {title}", "x", "lower")
        for name in present(settings, results, LOGGED):  # counted, not timed: one round tells all
            where = str(settings.work / "engine")
            keys = settings.amplification_keys
            order = Order("amplification", name, where, keys, VALUE_BYTES, puts_per_batch=puts_per_batch)
            row.add(name, Sample(run_task(order)["amplification"]))
        tell([row])
    results.remarks.append(
        f"Write amplification: {settings.amplification_keys:,} random keys; bytes passed to write calls "
        "(log, tables, manifest) per byte of keys and values, after background work came to rest."
    )


def sizes_section(settings: Settings, results: Results) -> None:
    """The cost of one put and one get as the data grows."""
    for keys in settings.size_keys:
        put = results.open_row("sizes", f"put, {keys:,} keys", "us", "lower", "put", keys)
        get = results.open_row("sizes", f"random get, {keys:,} keys", "us", "lower", "get", keys)
        for name in in_turns(settings.rounds, present(settings, results, ENGINES)):
            order = Order("rates", name, str(settings.work / "engine"), keys, VALUE_BYTES)
            watch = Watch.start()
            found = run_task(order)
            detail = watch.detail()
            put.add(name, Sample(1e6 / found["put"], {}, detail))
            get.add(name, Sample(1e6 / found["random warm get"], {}, detail))
        tell([put, get])
