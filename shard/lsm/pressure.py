"""Back-pressure: how far flush and compaction are behind, as a delay for acknowledgements.

Three debts count: memory that waits for its flush, tables in level 0, and bytes that compaction is behind. Each is 0
while background work keeps up and 1 at its hard limit; the worst of them decides. The delay grows with the square of
the debt, from nothing, so that writers slow down to the pace of the background work long before the limit, and there is
no cliff. At the limit writes are refused (OVERLOADED); reads are never touched.
"""

from dataclasses import dataclass

from sherd.shard.lsm.options import EngineOptions

DELAY_SECONDS_MAX = 0.5
FROZEN_MEMTABLES_MAX = 2
"""Beside the active one."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """``delay_seconds`` to hold back each acknowledged write; ``overloaded``: refuse writes instead."""

    delay_seconds: float
    overloaded: bool


NO_PRESSURE = Pressure(0.0, False)


def debt(value: float, slow: float, stop: float) -> float:
    """0 up to ``slow``, 1 from ``stop`` on, linear between."""
    return min(max((value - slow) / (stop - slow), 0.0), 1.0)


def pressure(
    options: EngineOptions, *, frozen: int, active_bytes: int, level0_tables: int, pending_bytes: int
) -> Pressure:
    """The pressure of this state: ``frozen`` memtables waiting for their flush, and the active one's memory."""
    waiting = frozen + min(active_bytes / options.memtable_bytes, 1.0)
    worst = max(
        debt(waiting, FROZEN_MEMTABLES_MAX, FROZEN_MEMTABLES_MAX + 1),
        debt(level0_tables, options.level0_tables_slow, options.level0_tables_stop),
        debt(pending_bytes, options.pending_bytes_slow, options.pending_bytes_stop),
    )
    if worst == 0.0:
        return NO_PRESSURE
    return Pressure(DELAY_SECONDS_MAX * worst * worst, worst >= 1.0)
