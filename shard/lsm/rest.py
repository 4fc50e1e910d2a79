"""What an idle store tidies up, so that dead entries take little room: a pure function of its state.

Which entries are dead is not known without reading them; an upper bound is. Whatever stands above a level, a tombstone
or a value, in a table or in memory, hides at most one entry of that level, and so about as many bytes as entries there
have on average. While the store is written to, the bound hardly matters: level sizes keep it low where new values are
like old ones, and what is written next goes on compacting. At rest nothing comes, and a small tombstone may keep a
large value for good. So at rest the memtable is flushed and tables go down until at most ``DEAD_SHARE`` of all bytes
can be dead: the files are then within 1.2 times what is live. Those tables go first that set most bytes free for what
has to be rewritten.

What has expired since it was last compacted is not counted: a version does not know when its entries expire.
"""

from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.picker import Levels, Pick, level_bytes, overlapping, pick_level, pick_tables

LEVEL0_SHARE = 0.05
"""Of an idle store's bytes, what may stay in level 0, where a get looks into every table."""
DEAD_SHARE = 1 / 6
"""Of an idle store's bytes, how many may be dead."""


def dead_bytes(levels: Levels) -> list[float]:
    """At most how many bytes are dead for the sake of each level: those it may hide below, and its own tombstones."""
    dead = [0.0] * len(levels)
    bytes_below = entries_below = 0
    for level in reversed(range(len(levels))):
        here = sum(table.bytes for table in levels[level])
        found = sum(_dead_for(table, bytes_below, entries_below) for table in levels[level])
        dead[level] = min(found, float(bytes_below + here))
        bytes_below += here
        entries_below += sum(table.entries for table in levels[level])
    return dead


def _dead_for(table: TableMeta, bytes_below: int, entries_below: int) -> float:
    hidden = table.entries * bytes_below / entries_below if entries_below else 0.0
    return min(hidden, bytes_below) + table.tombstones * table.bytes / max(table.entries, 1)


def hidden_by_memory(levels: Levels, memory_entries: int) -> float:
    """At most how many bytes of the tables are dead for the sake of a memtable of so many entries."""
    entries = sum(table.entries for level in levels for table in level)
    return sum(level_bytes(levels)) * min(memory_entries / entries, 1.0) if entries else 0.0


def flush_at_rest(levels: Levels, memory_entries: int) -> bool:
    """Whether too much may be dead, and the memtable is what hides most of it."""
    dead, hidden = dead_bytes(levels), hidden_by_memory(levels, memory_entries)
    return sum(dead) + hidden > DEAD_SHARE * sum(level_bytes(levels)) and hidden >= max(dead)


def pick_at_rest(levels: Levels, options: EngineOptions, memory_entries: int) -> Pick | None:
    """The next compaction that tidies up, where ``picker.pick`` has none; None once little enough can be dead."""
    sizes = level_bytes(levels)
    below = sum(sizes[1:])
    if (len(levels[0]) > 1 and not below) or sizes[0] > LEVEL0_SHARE * below > 0:
        return pick_level(levels, 0, options)
    dead = dead_bytes(levels)
    level = max(range(len(levels) - 1), key=dead.__getitem__)
    if sum(dead) + hidden_by_memory(levels, memory_entries) <= DEAD_SHARE * sum(sizes) or not levels[level]:
        return None
    if level == 0:
        return pick_level(levels, 0, options)
    bytes_below = sum(sizes[level + 1 :])
    entries_below = sum(table.entries for deeper in levels[level + 1 :] for table in deeper)

    def gain(table: TableMeta) -> float:
        met = sum(other.bytes for other in overlapping(levels[level + 1], table.smallest, table.largest))
        return _dead_for(table, bytes_below, entries_below) / (table.bytes + met)

    return pick_tables(levels, (max(levels[level], key=gain),), level + 1)
