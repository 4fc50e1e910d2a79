"""The sorted operations of a log: every size up to several stretches comes out in order, newest first within a key."""

import random

import pytest

from sherd.shard.lsm.format import RECORD_HEADER_BYTES
from sherd.shard.lsm.log_run import STRETCH, LogRun
from sherd.shard.lsm.pauses import PAUSE_BYTES, Pauses
from sherd.shard.lsm.record import RecordBuilder
from sherd.shard.lsm.segment_scan import RecordHeader

pytestmark = pytest.mark.core


def filled(keys: list[bytes], pauses: Pauses) -> LogRun:
    """A run of one record per thousand keys; the value of a key is its LSN."""
    run = LogRun(pauses)
    builder = RecordBuilder(1)
    for begin in range(0, len(keys), 1000):
        for key in keys[begin : begin + 1000]:
            builder.append_put(key, b"%d" % builder.next_lsn, 0)
        record = builder.seal(1, 0, 1, 7)
        body_bytes = RecordHeader(record, 0).body_bytes
        run.add(record[RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + body_bytes])
    run.seek_first()
    return run


@pytest.mark.parametrize("count", [0, 1, STRETCH - 1, STRETCH, STRETCH + 1, 2 * STRETCH, 3 * STRETCH, 5 * STRETCH + 17])
@pytest.mark.parametrize("distinct", [10, 1 << 30])
def test_what_was_added_in_any_order_comes_out_sorted(count: int, distinct: int) -> None:
    choice = random.Random(count)
    keys = [b"key%d" % choice.randrange(distinct) for _ in range(count)]
    newest = {key: lsn for lsn, key in enumerate(keys, 1)}
    run = filled(keys, Pauses(lambda: None))
    found = []
    while run.valid:
        value = run.value_source[run.value_at : run.value_at + run.value_len]
        assert int(value) == run.lsn
        found.append((run.key, run.lsn))
        run.next()
    assert found == sorted(newest.items())


def test_no_pause_is_far_away() -> None:
    """Adding, sorting and walking all lead to pauses; what one raises comes through and is not swallowed."""
    calls = []
    count = 4 * STRETCH
    keys = [b"%08d" % (i * 7919 % count) for i in range(count)]
    run = filled(keys, Pauses(lambda: calls.append(1)))
    added_bytes = count * (8 + 4)
    assert len(calls) >= added_bytes // (2 * PAUSE_BYTES)
    sorted_with = len(calls)
    while run.valid:
        run.next()
    assert len(calls) - sorted_with >= count * 8 // (2 * PAUSE_BYTES)

    def refuse() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled(keys, Pauses(refuse))
