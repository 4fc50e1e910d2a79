"""The gate releases a reply exactly when what it has seen is durable enough, in order, and nothing after poison."""

import pytest

from sherd.common.errors import Unavailable
from sherd.shard.replies import ReplyGate, ReplySink

pytestmark = pytest.mark.core


def sent(gate: ReplyGate) -> dict[int, bytes]:
    return {id(sink): sink.take() for sink in gate.take_dirty()}


def reply(gate: ReplyGate, sink: ReplySink, msgid: int, seen: int, sync: bool = False, write: bool = False) -> None:
    gate.reply(sink, bytes((msgid,)), b"\x2a", seen, sync, write)


def wire(*msgids: int) -> bytes:
    return b"".join(b"\x94\x01" + bytes((msgid,)) + b"\xc0\x2a" for msgid in msgids)


def test_unbounded_slack_releases_at_the_end_of_the_turn() -> None:
    gate, sink = ReplyGate(None, 0), ReplySink()
    reply(gate, sink, 1, 1000, write=True)
    reply(gate, sink, 2, 0)
    assert sent(gate) == {id(sink): wire(1, 2)}
    assert gate.held() == 0
    assert sent(gate) == {}


def test_always_holds_what_saw_unsynced_entries_and_lets_the_rest_pass() -> None:
    gate, sink, other = ReplyGate(0, 10), ReplySink(), ReplySink()
    reply(gate, sink, 1, 11, write=True)
    reply(gate, other, 2, 11)  # a read of what is not durable yet
    reply(gate, other, 3, 10)
    reply(gate, other, 4, 0)
    assert sent(gate) == {id(other): wire(3, 4)}
    assert gate.held() > 0
    gate.synced(11)
    assert sent(gate) == {id(sink): wire(1), id(other): wire(2)}
    assert gate.held() == 0


def test_ops_lets_replies_run_ahead_by_n() -> None:
    gate, sink = ReplyGate(5, 100), ReplySink()
    reply(gate, sink, 1, 105, write=True)
    reply(gate, sink, 2, 106, write=True)
    assert sent(gate) == {id(sink): wire(1)}
    gate.synced(101)
    assert sent(gate) == {id(sink): wire(2)}


def test_sync_on_one_request_overrides_a_looser_policy() -> None:
    gate, sink = ReplyGate(None, 0), ReplySink()
    reply(gate, sink, 1, 7, sync=True, write=True)
    reply(gate, sink, 2, 8, write=True)
    assert sent(gate) == {id(sink): wire(2)}
    gate.synced(6)
    assert sent(gate) == {}
    gate.synced(7)
    assert sent(gate) == {id(sink): wire(1)}


def test_errors_that_saw_unsynced_data_wait_too() -> None:
    gate, sink = ReplyGate(0, 0), ReplySink()
    gate.error(sink, b"\x01", b"\xa1e\xc0", 3)
    gate.error(sink, b"\x02", b"\xa1e\xc0", 0)
    assert sent(gate) == {id(sink): b"\x94\x01\x02\xa1e\xc0"}
    gate.synced(3)
    assert sent(gate) == {id(sink): b"\x94\x01\x01\xa1e\xc0"}


def test_back_pressure_delays_writes_only() -> None:
    gate, sink = ReplyGate(None, 0), ReplySink()
    gate.write_delay_seconds = 0.01
    reply(gate, sink, 1, 1, write=True)
    reply(gate, sink, 2, 1)
    assert sent(gate) == {id(sink): wire(2)}
    assert gate.delayed() == 1
    gate.release_delayed(5)
    assert sent(gate) == {id(sink): wire(1)}


def test_delayed_writes_still_wait_for_the_log() -> None:
    gate, sink = ReplyGate(0, 0), ReplySink()
    gate.write_delay_seconds = 0.01
    reply(gate, sink, 1, 1, write=True)
    gate.release_delayed(1)
    assert sent(gate) == {}
    gate.synced(1)
    assert sent(gate) == {id(sink): wire(1)}


def test_nothing_leaves_after_poison() -> None:
    gate, sink = ReplyGate(0, 0), ReplySink()
    reply(gate, sink, 1, 0)
    reply(gate, sink, 2, 5, write=True)
    gate.drop()
    gate.synced(10)
    assert sent(gate) == {}
    assert sink.take() == b""


def test_a_reply_that_waits_for_followers_holds_up_no_other() -> None:
    gate, sink, other = ReplyGate(0, 10), ReplySink(), ReplySink()
    gate.replicated(10, 2)
    gate.reply(sink, b"\x01", b"\x2a", 11, False, True, True)
    reply(gate, other, 2, 12, write=True)
    assert (gate.held(), gate.copying()) == (2, 0)
    gate.synced(12)
    assert sent(gate) == {id(other): wire(2)}
    assert (gate.held(), gate.copying()) == (0, 1)
    assert not gate.replicated(10, 2)
    assert gate.replicated(11, 2)
    assert sent(gate) == {id(sink): wire(1)}
    assert (sink.held_bytes, other.held_bytes) == (0, 0)


def test_who_was_copied_first_still_waits_for_the_log() -> None:
    gate, sink = ReplyGate(0, 0, True), ReplySink()
    gate.replicated(0, 2)
    reply(gate, sink, 1, 5, write=True)
    assert not gate.replicated(5, 2)
    assert sent(gate) == {}
    gate.synced(5)
    assert sent(gate) == {id(sink): wire(1)}


def test_insync_without_followers_is_satisfied_by_the_leader() -> None:
    gate, sink = ReplyGate(None, 0), ReplySink()
    gate.replicated(None)
    gate.admit(True)
    gate.reply(sink, b"\x01", b"\x2a", 7, False, True, True)
    assert sent(gate) == {id(sink): wire(1)}


@pytest.mark.parametrize("in_sync", [False, True], ids=["leader", "insync"])
def test_writes_at_insync_need_as_many_in_sync_as_are_asked_for(in_sync: bool) -> None:
    gate = ReplyGate(None, 0, in_sync, 2)
    with pytest.raises(Unavailable, match="replicas in sync: 1, needed for acks insync: 2"):
        gate.admit(True)
    if not in_sync:
        gate.admit(False)
    gate.replicated(0, 2)
    gate.admit(True)
    gate.admit(False)


def test_what_was_executed_is_not_acknowledged_by_fewer_than_were_to_be() -> None:
    gate, sink = ReplyGate(None, 0, True, 2), ReplySink()
    gate.replicated(5, 2)
    reply(gate, sink, 1, 6, write=True)
    assert not gate.replicated(None, 1)  # the follower was lost, and its set is the leader alone
    reply(gate, sink, 2, 5)
    assert sent(gate) == {id(sink): wire(2)}
    assert gate.replicated(6, 2)
    assert sent(gate) == {id(sink): wire(1)}


def test_who_follows_now_answers_nothing_that_waited_for_followers() -> None:
    gate, sink = ReplyGate(0, 10, True), ReplySink()
    gate.replicated(10, 2)
    reply(gate, sink, 1, 11, write=True)  # neither synced nor copied
    gate.synced(11)
    reply(gate, sink, 2, 12, write=True)
    gate.write_delay_seconds = 1.0
    reply(gate, sink, 3, 13, write=True)
    gate.error(sink, b"\x04", b"\xa1e\xc0", 0)
    gate.follow()
    gate.synced(13)
    gate.release_delayed(1)
    assert sent(gate) == {id(sink): b"\x94\x01\x04\xa1e\xc0"}
    assert sink.held_bytes == 0
    gate.write_delay_seconds = 0.0
    reply(gate, sink, 5, 13)
    assert sent(gate) == {id(sink): wire(5)}
