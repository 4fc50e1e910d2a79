"""Where two logs part, how far a follower is behind, and what is kept for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.shard.lsm.format import TERM_LSN_STEP
from sherd.shard.lsm.retention import KeptSegment, Retention
from sherd.shard.replication.history import common_lsn
from sherd.shard.replication.progress import Lag, Progress, Sample

pytestmark = pytest.mark.core

STEP = TERM_LSN_STEP


def test_an_empty_log_is_the_beginning_of_every_log() -> None:
    assert common_lsn([(1, STEP)], STEP + 10, [], 0) == 0


def test_who_is_behind_has_all_in_common() -> None:
    ours = [(1, STEP), (2, 2 * STEP + 100)]
    assert common_lsn(ours, 2 * STEP + 150, ours, 2 * STEP + 120) == 2 * STEP + 120
    assert common_lsn(ours, 2 * STEP + 150, ours[:1], STEP + 40) == STEP + 40
    assert common_lsn(ours, 2 * STEP + 150, ours[:1], STEP + 100) == STEP + 100


def test_an_old_leader_parts_where_its_successor_began() -> None:
    ours = [(1, STEP), (2, 2 * STEP + 100)]
    assert common_lsn(ours, 2 * STEP + 150, ours[:1], STEP + 130) == STEP + 100
    theirs = [(1, STEP), (3, 2 * STEP + 130)]
    assert common_lsn(ours, 2 * STEP + 150, theirs, 2 * STEP + 130) == STEP + 100


def test_logs_without_a_common_term_have_nothing_in_common() -> None:
    assert common_lsn([(5, 7 * STEP)], 7 * STEP + 1, [(1, STEP)], STEP + 1) is None
    assert common_lsn([(1, 2 * STEP)], 2 * STEP + 1, [(1, STEP)], STEP + 1) is None


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.data())
def test_it_is_the_longest_common_beginning(lengths: list[int], data: st.DataObject) -> None:
    """Against logs written out in full: two logs that share their first terms, and each goes on in terms of its own."""
    shared = data.draw(st.integers(1, len(lengths)))

    def build(first_term: int, lengths: list[int], log: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
        history, last = list(log), log_last[0]
        for i, length in enumerate(lengths):
            first = last + STEP
            history.append((first_term + i, first))
            last = first + length - 1
        return history, last

    log_last = [0]
    base, last = build(1, lengths[:shared], [])
    log_last[0] = last
    cut = data.draw(st.integers(0, lengths[shared - 1] - 1))
    ours, our_last = build(100, lengths[shared:], base)
    log_last[0] = last - cut
    theirs, their_last = build(200, data.draw(st.lists(st.integers(1, 9), max_size=3)), base)
    assert common_lsn(ours, our_last, theirs, their_last) == last - cut
    assert common_lsn(theirs, their_last, ours, our_last) == last - cut


def test_lag_in_records_bytes_and_seconds() -> None:
    progress = Progress()
    for i in range(1, 11):
        progress.note(Sample(100 * i, 1000 * i, float(i)))
    now = Sample(1000, 10_000, 12.0)
    assert progress.lag(1000, now, 0) == Lag(0, 0, 0.0)
    assert progress.lag(700, now, 0) == Lag(300, 3000, 4.0)
    assert progress.lag(750, now, 50) == Lag(200, 3000, 4.0)
    assert progress.lag(0, now, 0) == Lag(1000, 9000, 11.0)
    assert Progress().lag(0, now, 0) == Lag(1000, 0, 0.0)


def test_segments_are_kept_while_they_are_needed_and_fit() -> None:
    retention = Retention(250, [KeptSegment(1, 10, 100)])
    closed = [KeptSegment(2, 20, 100), KeptSegment(4, 30, 100)]
    assert retention.plan(closed) == ([], [1, 2, 4])
    retention.needed_lsn = 0
    assert retention.plan(closed) == (closed, [1])
    retention.needed_lsn = 20
    assert retention.plan(closed) == (closed, [1])
    retention.needed_lsn = 21
    assert retention.plan(closed) == (closed[1:], [1, 2])
    retention.needed_lsn = 31
    assert retention.plan(closed) == ([], [1, 2, 4])
