"""A lane: one job at a time, and pauses that grow while it fails."""

import pytest

from sherd.common.clock import ManualClock
from sherd.shard.lsm.job_types import PrepareJob
from sherd.shard.lsm.lane import RETRY_SECONDS_MAX, RETRY_SECONDS_MIN, Lane

pytestmark = pytest.mark.core

JOB = PrepareJob(1, "life", 2, 3, 4)


def test_one_piece_is_out_at_a_time() -> None:
    lane = Lane("flush", ManualClock())
    assert lane.open
    lane.job = JOB
    assert not lane.open
    lane.done()
    assert lane.open
    assert (lane.failures, lane.failed_seconds_ago) == (0, None)


def test_pauses_grow_up_to_a_minute() -> None:
    clock = ManualClock()
    lane = Lane("flush", clock)
    pauses = []
    for failures in range(1, 2000):
        lane.job = JOB
        lane.failed(OSError("no"))
        assert lane.failures == failures
        pause = 0.0
        while not lane.open:
            clock.advance(0.25)
            pause += 0.25
        pauses.append(pause)
        if pause == RETRY_SECONDS_MAX:
            break
    assert pauses == [RETRY_SECONDS_MIN * 2**n for n in range(7)] + [RETRY_SECONDS_MAX]
    for _ in range(2000):
        lane.failed(OSError("no"))
    clock.advance(RETRY_SECONDS_MAX)
    assert lane.open


def test_success_forgets_the_pause_and_not_the_time() -> None:
    clock = ManualClock()
    lane = Lane("flush", clock)
    lane.failed(OSError("no"))
    clock.advance(5)
    lane.done()
    assert lane.failures == 0
    assert lane.open
    assert (lane.error, lane.failed_seconds_ago) == ("OSError: no", 5.0)
