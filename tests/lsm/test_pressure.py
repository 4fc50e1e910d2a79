"""Back-pressure: nothing while background work keeps up, then smooth, then OVERLOADED."""

from itertools import pairwise

import pytest

from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.pressure import DELAY_SECONDS_MAX, NO_PRESSURE, Pressure, pressure

pytestmark = pytest.mark.core

OPTIONS = EngineOptions(memtable_bytes=1 << 20)


def at(frozen: int = 0, active: float = 0.0, level0: int = 0, pending: int = 0) -> Pressure:
    return pressure(
        OPTIONS, frozen=frozen, active_bytes=int(active * (1 << 20)), level0_tables=level0, pending_bytes=pending
    )


def test_no_delay_in_ordinary_work() -> None:
    assert at() == NO_PRESSURE
    assert at(frozen=1, active=1.0) == NO_PRESSURE
    assert at(level0=OPTIONS.level0_tables_compact + 2) == NO_PRESSURE
    assert at(pending=OPTIONS.pending_bytes_slow) == NO_PRESSURE


def test_overloaded_only_at_a_hard_limit() -> None:
    assert not at(frozen=2, active=0.99).overloaded
    assert at(frozen=2, active=1.0).overloaded
    assert not at(level0=OPTIONS.level0_tables_stop - 1).overloaded
    assert at(level0=OPTIONS.level0_tables_stop).overloaded
    assert at(pending=OPTIONS.pending_bytes_stop).overloaded


def test_the_delay_grows_from_nothing_without_a_cliff() -> None:
    delays = [at(frozen=2, active=step / 100).delay_seconds for step in range(101)]
    assert delays == sorted(delays)
    assert delays[0] == 0.0
    assert delays[1] < 0.001
    assert delays[-1] == DELAY_SECONDS_MAX
    steps = [later - earlier for earlier, later in pairwise(delays)]
    assert max(steps) < DELAY_SECONDS_MAX / 40


def test_the_worst_debt_decides() -> None:
    assert at(frozen=2, active=0.5, level0=13).delay_seconds == at(frozen=2, active=0.5).delay_seconds
