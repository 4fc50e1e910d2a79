"""Back-pressure: how far flush and compaction are behind, as a delay for acknowledgements.

Three debts count: memory that waits for its flush, tables in level 0, and bytes that compaction is behind. Each is 0
while background work keeps up and 1 at its hard limit; the worst of them decides. The delay grows with the square of
the debt, from nothing, so that writers slow down to the pace of the background work long before the limit, and there is
no cliff. At the limit writes are refused (OVERLOADED); reads are never touched.

Memory has two limits, and writes are refused at the second. Two memtables may wait beside the active one: that is the
bound for memtables of a size that pays. Small ones hold but a few values each, sometimes one: counted by twos, nothing
would lie between no delay and a refusal. So more of them may wait, up to ``SMALL_FROZEN_MAX``, while all memory is
within ``SMALL_MEMORY_BYTES``. That is no more than three memtables can come to in any case, since each takes at least
one value, however large.
"""

from dataclasses import dataclass

from sherd.common.limits import MIB
from sherd.shard.lsm.options import EngineOptions

DELAY_SECONDS_MAX = 0.5
FROZEN_MEMTABLES_MAX = 2
"""Beside the active one."""
SMALL_FROZEN_MAX = 32
"""Beside the active one while memory is small; a get that finds nothing in memory looks into each."""
SMALL_MEMORY_BYTES = 3 * 8 * MIB
"""Three memtables of one value each, of the largest size that is taken by default."""
OVERFULL_MAX = 1.5
"""What an active memtable counts at most, in memtables; more than 1 once a single value has made it larger."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """``delay_seconds`` to hold back each acknowledged write; ``overloaded``: refuse writes instead."""

    delay_seconds: float
    overloaded: bool


NO_PRESSURE = Pressure(0.0, False)


def debt(value: float, slow: float, stop: float) -> float:
    """0 up to ``slow``, 1 from ``stop`` on, linear between."""
    return min(max((value - slow) / (stop - slow), 0.0), 1.0)


def urgency(options: EngineOptions, *, frozen: int, active_bytes: int, level0_tables: int, pending_bytes: int) -> float:
    """How near writers are to being delayed: 0 while there is nothing to do, 1 when the delays begin, more after."""
    memory = (frozen + active_bytes / options.memtable_bytes) / FROZEN_MEMTABLES_MAX if frozen else 0.0
    return max(memory, level0_tables / options.level0_tables_slow, pending_bytes / options.pending_bytes_slow)


def may_freeze(options: EngineOptions, frozen: int, memory_bytes: int, needed: int = 0) -> bool:
    """Whether the active memtable may join ``frozen`` waiting ones; ``memory_bytes`` are of all of them together.

    ``needed`` bytes will be the first in the next.
    """
    if frozen < FROZEN_MEMTABLES_MAX:
        return True
    return frozen < SMALL_FROZEN_MAX and memory_bytes + max(options.memtable_bytes, needed) <= SMALL_MEMORY_BYTES


def memory_debt(options: EngineOptions, frozen: int, frozen_bytes: int, active_bytes: int) -> float:
    """1 where ``may_freeze`` says no to an active memtable that is full, whichever of its two limits is the further."""
    waiting = frozen + min(active_bytes / options.memtable_bytes, OVERFULL_MAX)
    by_count = debt(waiting, FROZEN_MEMTABLES_MAX, FROZEN_MEMTABLES_MAX + 1)
    stop = SMALL_MEMORY_BYTES - options.memtable_bytes
    if by_count == 0.0 or stop <= 0:
        return by_count
    by_bytes = debt(frozen_bytes + active_bytes, stop / 3, stop)
    return min(by_count, max(by_bytes, debt(waiting, FROZEN_MEMTABLES_MAX, SMALL_FROZEN_MAX + 1)))


def pressure(
    options: EngineOptions, *, frozen: int, frozen_bytes: int, active_bytes: int, level0_tables: int, pending_bytes: int
) -> Pressure:
    """The pressure of this state: ``frozen`` memtables waiting for their flush, their memory and the active one's."""
    worst = max(
        memory_debt(options, frozen, frozen_bytes, active_bytes),
        debt(level0_tables, options.level0_tables_slow, options.level0_tables_stop),
        debt(pending_bytes, options.pending_bytes_slow, options.pending_bytes_stop),
    )
    if worst == 0.0:
        return NO_PRESSURE
    return Pressure(DELAY_SECONDS_MAX * worst * worst, worst >= 1.0)
