"""The compaction picker: pure, bounded, and it keeps levels in shape and write amplification low."""

import random
from dataclasses import replace

import pytest

from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.picker import Pick, disjoint, level_targets, pending_bytes, pick, pick_full

pytestmark = pytest.mark.core

KIB = 1024
OPTIONS = EngineOptions(
    table_bytes=32 * KIB, level0_tables_compact=4, level_base_bytes=256 * KIB, level_size_multiplier=4
)
EMPTY: list[list[TableMeta]] = [[] for _ in range(7)]


def table(
    number: int, level: int, low: int, high: int, size: int = 32 * KIB, tombstones: int = 0, expiring: int = 0
) -> TableMeta:
    return TableMeta(
        number=number,
        level=level,
        bytes=size,
        entries=1000,
        tombstones=tombstones,
        expiring=expiring,
        smallest=b"%08d" % low,
        largest=b"%08d" % high,
        min_lsn=1,
        max_lsn=2,
    )


def levels_of(*tables: TableMeta) -> list[list[TableMeta]]:
    levels: list[list[TableMeta]] = [[] for _ in range(7)]
    for one in tables:
        levels[one.level].append(one)
    return levels


def test_nothing_to_do() -> None:
    assert pick(EMPTY, OPTIONS) is None
    assert pick(levels_of(table(1, 0, 0, 9)), OPTIONS) is None


def test_level0_goes_to_the_bottom_of_a_small_store() -> None:
    tables = [table(i, 0, 0, 9) for i in range(1, 5)]
    found = pick(levels_of(*tables), OPTIONS)
    assert found == Pick(tuple(tables), (), 6, bottom=True)


def test_level0_takes_what_it_overlaps_below_and_nothing_else() -> None:
    low, high = table(1, 6, 0, 9), table(2, 6, 10, 19)
    found = pick(levels_of(low, high, *(table(i, 0, 0, 5) for i in range(3, 7))), OPTIONS)
    assert found is not None
    assert found.lower == (low,)


def test_the_base_rises_with_the_data() -> None:
    assert level_targets(levels_of(table(1, 6, 0, 9, 200 * KIB)), OPTIONS)[0] == 6
    assert level_targets(levels_of(table(1, 6, 0, 9, 800 * KIB)), OPTIONS)[0] == 5
    assert level_targets(levels_of(table(1, 6, 0, 9, 8000 * KIB)), OPTIONS)[0] == 3
    assert level_targets(levels_of(table(1, 6, 0, 9, 1 << 50)), OPTIONS)[0] == 1


def test_an_oversized_level_sends_down_the_table_that_costs_least() -> None:
    bottom = [table(i, 6, 10 * i, 10 * i + 9) for i in range(1, 41)]
    cheap, dear = table(101, 5, 10, 19), table(102, 5, 100, 250)
    rest = [table(103 + i, 5, 300 + 2 * i, 301 + 2 * i, 64 * KIB) for i in range(4)]
    found = pick(levels_of(*bottom, cheap, dear, *rest), OPTIONS)
    assert found is not None
    assert found.output_level == 6
    assert dear not in found.upper
    assert len(found.inputs) <= 3


def test_tables_that_overlap_nothing_are_moved() -> None:
    tables = [table(i, 0, 10 * i, 10 * i + 9) for i in range(1, 5)]
    found = pick(levels_of(*tables), OPTIONS)
    assert found is not None
    assert found.move


@pytest.mark.parametrize("dead", ["tombstones", "expiring"])
def test_dead_entries_are_not_moved_to_the_bottom(dead: str) -> None:
    tables = [replace(table(i, 0, 10 * i, 10 * i + 9), **{dead: 1}) for i in range(1, 5)]
    found = pick(levels_of(*tables), OPTIONS)
    assert found is not None
    assert not found.move


def test_full_compaction_ends_with_everything_at_the_bottom() -> None:
    levels = levels_of(table(9, 0, 0, 9), table(5, 4, 0, 50), table(6, 5, 20, 60), table(1, 6, 0, 100, tombstones=3))
    floor, steps, number = 0, 0, 10
    while True:
        found, floor = pick_full(levels, OPTIONS, floor, 10)
        if found is None:
            break
        steps += 1
        assert steps < 20
        levels = [[one for one in level if one not in found.inputs] for level in levels]
        low = min(one.smallest for one in found.inputs)
        high = max(one.largest for one in found.inputs)
        levels[found.output_level].append(
            replace(found.inputs[0], number=number, level=found.output_level, smallest=low, largest=high, tombstones=0)
        )
        number += 1
    assert all(not level for level in levels[:6])
    assert len(levels[6]) == 1


def test_pending_bytes_grow_with_the_debt() -> None:
    base = [table(i, 6, 10 * i, 10 * i + 9) for i in range(1, 11)]
    debts = [
        pending_bytes(levels_of(*base, *(table(100 + i, 0, 0, 99) for i in range(count))), OPTIONS)
        for count in (0, 4, 8, 16)
    ]
    assert debts[0] == 0
    assert debts == sorted(debts)
    assert debts[-1] > debts[1] > 0


def test_random_writes_keep_the_tree_in_shape() -> None:
    """A simulated store under uniform writes: every pick is legal, levels stay near their targets."""
    dice = random.Random(7)
    levels: list[list[TableMeta]] = [[] for _ in range(7)]
    number, written, flushed = 1, 0, 0
    for _ in range(300):
        levels[0].append(table(number, 0, dice.randrange(1000), 99_000 + dice.randrange(1000)))
        number, flushed = number + 1, flushed + 32 * KIB
        while (found := pick(levels, OPTIONS)) is not None:
            assert found.upper
            inputs = set(found.inputs)
            levels = [[one for one in level if one not in inputs] for level in levels]
            size = min(sum(one.bytes for one in found.inputs), 4000 * KIB)
            low = int(min(one.smallest for one in found.inputs))
            high = int(max(one.largest for one in found.inputs))
            parts = max(1, size // (32 * KIB))
            width = max(1, (high - low + 1) // parts)
            for part in range(parts):
                begin = low + part * width
                end = high if part == parts - 1 else begin + width - 1
                levels[found.output_level].append(table(number, found.output_level, begin, end, size // parts))
                number += 1
            levels[found.output_level].sort(key=lambda one: one.smallest)
            assert disjoint(levels[found.output_level])
            written += size
    base, targets = level_targets(levels, OPTIONS)
    for level in range(base, 6):
        assert sum(one.bytes for one in levels[level]) <= targets[level] * 1.5 + 300 * KIB
    assert written / flushed < 30
