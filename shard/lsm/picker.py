"""Which tables to compact next: a pure function of the version and the options.

Leveled compaction with level sizes that follow the data (the "dynamic level bytes" of RocksDB's leveled compaction):
the bottom level holds what it holds, each level above it may be one ``level_size_multiplier``-th of the one below, and
the first that comes to no more than ``level_base_bytes`` is the *base*, into which level 0 is compacted. Levels between
0 and the base stay empty. So with a multiplier of 8 some 7 of 8 bytes are in the bottom level, where each key is once,
and what is above it hides at most a seventh of them.

Level 0 scores by its number of tables, the others by size over target; the highest score of at least 1 is worked on.
Within a level the table goes down whose overlap with the level below is smallest for its size: it costs the least
rewriting per byte. Tables that overlap nothing are moved without being read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.options import EngineOptions

Levels = Sequence[Sequence[TableMeta]]
"""Tables by level; level 0 oldest first, the others by key."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Tables to merge into ``output_level``. ``move``: they overlap nothing there and can go as they are."""

    upper: tuple[TableMeta, ...]
    lower: tuple[TableMeta, ...]
    output_level: int
    bottom: bool
    """Nothing lies below the output: tombstones and expired entries end here."""
    move: bool = False

    @property
    def inputs(self) -> tuple[TableMeta, ...]:
        return self.upper + self.lower


def level_bytes(levels: Levels) -> list[int]:
    """Bytes of the files of each level."""
    return [sum(table.bytes for table in level) for level in levels]


def level_targets(levels: Levels, options: EngineOptions) -> tuple[int, list[float]]:
    """The base level, and the size each level should have; 0 for those that should be empty."""
    bottom = len(levels) - 1
    targets = [0.0] * len(levels)
    target = float(max(sum(table.bytes for table in levels[bottom]), 1))
    base = bottom
    targets[base] = target
    while target > options.level_base_bytes and base > 1:
        target /= options.level_size_multiplier
        base -= 1
        targets[base] = target
    return base, targets


def overlapping(tables: Sequence[TableMeta], smallest: bytes, largest: bytes) -> tuple[TableMeta, ...]:
    """Those of the tables that have keys within the bounds, both inclusive."""
    return tuple(table for table in tables if table.smallest <= largest and table.largest >= smallest)


def disjoint(tables: Sequence[TableMeta]) -> bool:
    """Whether no key is within two of the tables."""
    ordered = sorted(tables, key=lambda table: table.smallest)
    return all(left.largest < right.smallest for left, right in pairwise(ordered))


def pick(levels: Levels, options: EngineOptions) -> Pick | None:
    """The most urgent compaction, or None. What else an idle store may do: rest.py."""
    _, targets = level_targets(levels, options)
    scores = [(len(levels[0]) / options.level0_tables_compact, 0)]
    sizes = level_bytes(levels)
    for level in range(1, len(levels) - 1):
        if sizes[level]:
            scores.append((sizes[level] / targets[level] if targets[level] else float("inf"), level))
    score, level = max(scores)
    return pick_level(levels, level, options) if score >= 1 else None


def pick_level(levels: Levels, level: int, options: EngineOptions) -> Pick:
    """The best compaction out of ``level``, which has tables and is not the bottom."""
    if level == 0:
        base, _ = level_targets(levels, options)
        filled = [i for i in range(1, base) if levels[i]]
        return pick_tables(levels, tuple(levels[0]), filled[0] if filled else base)
    below = levels[level + 1]

    def cost(table: TableMeta) -> float:
        met = sum(other.bytes for other in overlapping(below, table.smallest, table.largest))
        return met / max(table.bytes, 1)

    return pick_tables(levels, (min(levels[level], key=cost),), level + 1)


def pick_tables(levels: Levels, upper: tuple[TableMeta, ...], output_level: int) -> Pick:
    """The compaction of these tables into ``output_level``, with what they overlap there."""
    smallest = min(table.smallest for table in upper)
    largest = max(table.largest for table in upper)
    lower = overlapping(levels[output_level], smallest, largest)
    bottom = not any(overlapping(level, smallest, largest) for level in levels[output_level + 1 :])
    clean = not any(table.tombstones or table.expiring for table in upper)
    move = not lower and disjoint(upper) and (clean or not bottom)
    return Pick(upper, lower, output_level, bottom, move)


def pick_full(levels: Levels, options: EngineOptions, floor: int, before_number: int) -> tuple[Pick | None, int]:
    """One step of compacting everything into the bottom level, where every key is once and nothing is dead.

    ``floor`` is the level the steps have come to, 0 at first; give back the one returned. In the bottom, tables below
    ``before_number`` that may hold dead entries are rewritten. None when nothing is left.
    """
    bottom = len(levels) - 1
    for level in range(floor, bottom):
        if levels[level]:
            return pick_level(levels, level, options), level
    for table in levels[bottom]:
        if table.tombstones or (table.expiring and table.number < before_number):
            return Pick((table,), (), bottom, True), bottom
    return None, bottom


def pending_bytes(levels: Levels, options: EngineOptions) -> int:
    """About how many bytes must be compacted until no level is over its target: the debt that writes have built up."""
    base, targets = level_targets(levels, options)
    sizes = level_bytes(levels)
    carried = float(sizes[0]) if len(levels[0]) >= options.level0_tables_compact else 0.0
    debt = carried + min(sizes[base], carried * options.level_size_multiplier)
    for level in range(1, len(levels) - 1):
        over = sizes[level] + carried - targets[level]
        if over <= 0:
            carried = 0.0
            continue
        carried = min(over, sizes[level] + carried)
        ratio = sizes[level + 1] / max(sizes[level], 1) if sizes[level] else 0.0
        debt += carried * (1 + min(ratio, options.level_size_multiplier))
    return round(debt)
