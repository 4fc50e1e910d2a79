"""Driving an engine by hand: opening it on a test disk, running its jobs inline, reading back all it holds."""

import random
from collections.abc import Callable
from typing import Any

import msgpack

from sherd.common.clock import Clock, ManualClock
from sherd.common.disk import Disk
from sherd.shard.lsm import record
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import (
    KIND_DELETE,
    KIND_PUT,
    LOCK_NAME,
    MANIFEST_NAME,
    QUARANTINE_NAME,
    SEGMENT_SUFFIX,
    file_number,
    table_name,
)
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.manifest import read_manifest
from sherd.shard.lsm.options import EngineOptions
from support.history import Change, Contents
from support.survival import Survival

DIRECTORY = "/data"
COMPILED = not str(record.__file__).endswith(".py")
NOTHING = Survival("none", "none")

TINY = EngineOptions(
    memtable_bytes=16 << 10,
    cache_bytes=64 << 10,
    block_bytes=512,
    table_bytes=4 << 10,
    level0_tables_compact=2,
    level_base_bytes=8 << 10,
    level_size_multiplier=2,
)
"""Options under which a few dozen operations see every kind of background work."""


def seeded_bytes(seed: int) -> Callable[[int], bytes]:
    """A random source that repeats itself."""
    return random.Random(seed).randbytes


def open_engine(disk: Disk, options: EngineOptions = TINY, *, clock: Clock | None = None, seed: int = 0) -> Engine:
    """The engine in ``DIRECTORY`` of ``disk``."""
    return Engine.open(DIRECTORY, options, disk, clock or ManualClock(), random=seeded_bytes(seed))


def run_jobs(
    engine: Engine, disk: Disk, options: EngineOptions = TINY, count_max: int = 1 << 30, directory: str = DIRECTORY
) -> int:
    """Do the background work that is due, here and now, at most ``count_max`` jobs; how many there were."""
    count = 0
    while count < count_max and (job := engine.next_job()) is not None:
        engine.install(job, run_job(job, directory, disk, options, lambda: None))
        count += 1
    return count


def sync(engine: Engine) -> None:
    """Make everything written durable."""
    ticket = engine.sync_begin()
    if ticket is None:
        return
    try:
        ticket.run()
    except OSError as error:
        engine.sync_end(ticket, error)
        raise
    engine.sync_end(ticket, None)


def stage(engine: Engine, changes: list[Change]) -> tuple[list[int], int]:
    """Put, delete or batch, by how many changes there are; their versions (0 for a delete) and the last LSN."""
    if len(changes) == 1:
        key, value = changes[0]
        if value is None:
            engine.delete(key)
            versions = [0]
        else:
            versions = [engine.put(key, value)]
    else:
        operations = [(KIND_DELETE if value is None else KIND_PUT, key, value, 0, -1) for key, value in changes]
        versions = [int(answer) for answer in engine.batch(operations)]
    return versions, engine.last_lsn


def rows_of(page: Any) -> list[Any]:
    """The decoded rows of a ``Page``."""
    rows, position, blob = [], 0, page.rows
    while position < len(blob):
        size = int.from_bytes(blob[position : position + 4], "little")
        rows.append(msgpack.unpackb(blob[position + 4 : position + 4 + size]))
        position += 4 + size
    return rows


def scan(engine: Engine, *, reverse: bool = False, limit: int = 7) -> list[tuple[bytes, bytes, int]]:
    """Every live row in order, over many pages: key, value as encoded, version."""
    found: list[tuple[bytes, bytes, int]] = []
    start: bytes | None = None
    end: bytes | None = None
    while True:
        page = engine.scan_page(start, end, reverse, limit, 1 << 20, False, True, 1 << 20)
        found += [(key, msgpack.packb(value), version) for key, (value, version, _) in rows_of(page)]
        if page.resume is None:
            return found
        if reverse:
            end = page.resume
        else:
            start = page.resume


def contents(engine: Engine) -> Contents:
    """All that is live, by a forward scan."""
    return {key: (value, version) for key, value, version in scan(engine)}


def check_reads_agree(engine: Engine, found: Contents, absent: list[bytes]) -> None:
    """Scans both ways, counts and gets tell the same as ``found``; the keys in ``absent`` are not there."""
    backwards = scan(engine, reverse=True)
    assert backwards == sorted(((key, *rest) for key, rest in found.items()), reverse=True)
    total, start = 0, None
    while True:
        count, start = engine.count_page(start, None, 16)
        total += count
        if start is None:
            break
    assert total == len(found)
    for key, (value, version) in found.items():
        entry = engine.get(key)
        assert entry is not None, key
        assert (entry.value, entry.lsn) == (value, version), key
    for key in absent:
        assert engine.get(key) is None, key


def orphans(disk: Disk) -> list[str]:
    """Names in the data directory that no MANIFEST accounts for."""
    manifest = read_manifest(disk, DIRECTORY)
    names = set(disk.listdir(DIRECTORY)) - {LOCK_NAME, MANIFEST_NAME, QUARANTINE_NAME}
    if manifest is None:
        return sorted(names)
    names -= {table_name(table.number) for table in manifest.tables}
    numbers = {name: file_number(name, SEGMENT_SUFFIX) for name in names}
    return sorted(name for name, number in numbers.items() if number is None or number < manifest.kept_segment)
