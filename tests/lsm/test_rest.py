"""An idle store tidies up until little of what it keeps can be dead, whatever was written before, and then stops."""

import random
from collections.abc import Callable

import msgpack
import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, contents, open_engine, run_jobs

from sherd.common.errors import Overloaded
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.rest import DEAD_SHARE, dead_bytes, flush_at_rest, hidden_by_memory, pick_at_rest

pytestmark = pytest.mark.core

KIB = 1024
OPTIONS = EngineOptions(
    memtable_bytes=48 * KIB,
    block_bytes=1 * KIB,
    table_bytes=16 * KIB,
    level0_tables_compact=4,
    level_base_bytes=32 * KIB,
    level_size_multiplier=8,
    compression="none",
)


def table(
    number: int, level: int, low: int, high: int, size: int = 32 * KIB, entries: int = 1000, tombstones: int = 0
) -> TableMeta:
    return TableMeta(number, level, size, entries, tombstones, 0, b"%08d" % low, b"%08d" % high, 1, 2)


def levels_of(*tables: TableMeta) -> list[list[TableMeta]]:
    levels: list[list[TableMeta]] = [[] for _ in range(7)]
    for one in tables:
        levels[one.level].append(one)
    return levels


def test_an_empty_store_rests() -> None:
    assert pick_at_rest(levels_of(), OPTIONS, 0) is None
    assert pick_at_rest(levels_of(), OPTIONS, 1000) is None
    assert not flush_at_rest(levels_of(), 1000)
    assert dead_bytes(levels_of()) == [0.0] * 7


def test_level0_is_folded_in() -> None:
    assert pick_at_rest(levels_of(table(9, 0, 0, 9), table(1, 6, 0, 100, 320 * KIB, 10_000)), OPTIONS, 0) is not None
    assert pick_at_rest(levels_of(table(9, 0, 0, 9), table(8, 0, 5, 20)), OPTIONS, 0) is not None
    assert pick_at_rest(levels_of(table(9, 0, 0, 9)), OPTIONS, 0) is None


def test_a_value_hides_one_of_average_size() -> None:
    bottom = table(1, 6, 0, 99, 100_000, entries=1000)
    dead = dead_bytes(levels_of(bottom, table(2, 5, 0, 99, 3000, entries=50)))
    assert dead == pytest.approx([0, 0, 0, 0, 0, 50 * 100, 0])
    assert hidden_by_memory(levels_of(bottom), 30) == pytest.approx(30 * 100)
    assert hidden_by_memory(levels_of(bottom), 5000) == pytest.approx(100_000)


def test_a_tombstone_counts_itself_too() -> None:
    levels = levels_of(table(1, 6, 0, 99, 100_000, entries=1000), table(2, 5, 0, 99, 3000, entries=50, tombstones=50))
    assert dead_bytes(levels)[5] == pytest.approx(50 * 100 + 3000)


def test_small_tombstones_over_large_values_go_down() -> None:
    """By its size the upper level is nothing: 50 KB over 10 MB."""
    large = [table(i, 6, 10 * i, 10 * i + 9, 1 << 20, entries=100) for i in range(10)]
    few = table(20, 5, 0, 9, 2 * KIB, entries=100)
    many = table(21, 5, 50, 59, 2 * KIB, entries=300, tombstones=300)
    found = pick_at_rest(levels_of(*large, few, many), OPTIONS, 0)
    assert found is not None
    assert (found.upper, found.lower, found.output_level) == ((many,), (large[5],), 6)
    assert pick_at_rest(levels_of(*large, few), OPTIONS, 0) is None


def test_what_only_grows_is_left_alone() -> None:
    """Levels of the usual shape, values of one size: nothing needs to be dead, and little can be."""
    levels = levels_of(
        *(table(i, 6, 10 * i, 10 * i + 9) for i in range(80)),
        *(table(100 + i, 5, 100 * i, 100 * i + 99) for i in range(8)),
        table(200, 4, 0, 999),
        table(300, 0, 0, 999),
    )
    assert pick_at_rest(levels, OPTIONS, 0) is None


def test_the_memtable_is_flushed_if_it_hides_most() -> None:
    bottom = [table(i, 6, 10 * i, 10 * i + 9) for i in range(10)]
    assert not flush_at_rest(levels_of(*bottom), round(10_000 * DEAD_SHARE) - 1)
    assert flush_at_rest(levels_of(*bottom), round(10_000 * DEAD_SHARE) + 1)
    upper = table(20, 5, 0, 99, entries=4000)
    assert not flush_at_rest(levels_of(*bottom, upper), 100)  # the tables come first
    assert pick_at_rest(levels_of(*bottom, upper), OPTIONS, 100) is not None


Writes = Callable[["IdleStore"], None]


class IdleStore:
    """An engine that is written to; too much memory is flushed on the spot."""

    def __init__(self, value_bytes: int, keys: int) -> None:
        self.disk = CrashDisk()
        self.engine: Engine = open_engine(self.disk, OPTIONS)
        self.dice = random.Random(5)
        self.value = msgpack.packb(bytes(value_bytes))
        self.keys = keys
        self.expected: set[bytes] = set()

    def put(self, number: int) -> None:
        key = b"%06d" % number
        self._retried(lambda: self.engine.put(key, self.value))
        self.expected.add(key)

    def delete(self, number: int) -> None:
        key = b"%06d" % number
        self._retried(lambda: self.engine.delete(key))
        self.expected.discard(key)

    def _retried(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Overloaded:
            self.engine.commit()
            run_jobs(self.engine, self.disk, OPTIONS)
            write()

    def rest(self) -> int:
        """Run what is due at rest; how many jobs that were."""
        count = 0
        while (job := self.engine.next_job(at_rest=True)) is not None:
            self.engine.install(job, run_job(job, DIRECTORY, self.disk, OPTIONS))
            count += 1
        return count

    @property
    def table_bytes(self) -> int:
        return sum(meta.bytes for level in self.engine.installer.version.metas() for meta in level)


def insert(store: IdleStore) -> None:
    for number in store.dice.sample(range(store.keys), store.keys):
        store.put(number)


def overwrite(store: IdleStore) -> None:
    insert(store)
    for _ in range(store.keys):
        store.put(store.dice.randrange(store.keys))


def delete_all(store: IdleStore) -> None:
    insert(store)
    for number in range(store.keys):
        store.delete(number)


def delete_half(store: IdleStore) -> None:
    insert(store)
    for number in range(0, store.keys, 2):
        store.delete(number)


def delete_a_range(store: IdleStore) -> None:
    insert(store)
    for number in range(store.keys // 3):
        store.delete(number)


@pytest.mark.parametrize(("value_bytes", "keys"), [(30, 3000), (1500, 400)])
@pytest.mark.parametrize("writes", [insert, overwrite, delete_all, delete_half, delete_a_range])
def test_space_at_rest(writes: Writes, value_bytes: int, keys: int) -> None:
    store = IdleStore(value_bytes, keys)
    writes(store)
    store.engine.commit()
    run_jobs(store.engine, store.disk, OPTIONS)
    store.rest()
    assert store.rest() == 0
    at_rest = store.table_bytes
    assert set(contents(store.engine)) == store.expected
    store.engine.request_compact()
    run_jobs(store.engine, store.disk, OPTIONS)
    assert set(contents(store.engine)) == store.expected
    # The memtable was not on disk but in the log; a compaction puts it into tables.
    assert at_rest <= 1.2 * store.table_bytes + 4 * KIB
    store.engine.close()


def test_a_store_that_is_tidy_is_left_alone() -> None:
    store = IdleStore(30, 3000)
    overwrite(store)
    store.engine.commit()
    run_jobs(store.engine, store.disk, OPTIONS)
    store.rest()
    before = len(store.disk.operations)
    for _ in range(3):
        assert store.rest() == 0
    assert len(store.disk.operations) == before
    store.put(1)
    store.engine.commit()
    assert store.rest() == 0  # one write more is nothing
    store.engine.close()
