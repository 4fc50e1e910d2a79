"""Crash at every I/O point, recover, and hold what came back against what was promised. FAULTS 1, 4, 8 to 12, 33, 34.

The runs are sized for the suite; the soak makes them longer and tries every way of cutting at every point. The
interpreted build recovers from a sample of the points.
"""

import pytest
from support.crash_run import check_moments, check_nested, run_engine
from support.engine_run import COMPILED
from support.survival import SURVIVALS
from support.workload import group_commits

pytestmark = pytest.mark.core

STRIDE = 1 if COMPILED else 9
NESTED_STRIDE = 13 if COMPILED else 97


def test_group_commits_crashed_at_every_io_point() -> None:
    run = run_engine(group_commits(seed=1, writes=120))
    assert check_moments(run, stride=STRIDE) > 100


def test_the_recovery_crashed_at_every_io_point() -> None:
    run = run_engine(group_commits(seed=2, writes=80))
    assert check_nested(run, stride=NESTED_STRIDE) > 100


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_long_runs_crashed_at_every_io_point(seed: int) -> None:
    run = run_engine(group_commits(seed, writes=400))
    check_moments(run, cuts=len(SURVIVALS))
    check_nested(run, stride=7, cuts=3, seed=seed)
