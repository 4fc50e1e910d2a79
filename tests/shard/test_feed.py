"""The leader's side of replication, without I/O: what followers are answered, and what acknowledgements wait for."""

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, TINY, contents, open_engine, run_jobs, seeded_bytes
from support.shard_core import decode

from sherd.common.clock import ManualClock
from sherd.common.errors import BadRequest, NotLeader, Overloaded, Unavailable
from sherd.common.world import system_world
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.log_tail import LogTail
from sherd.shard.replication.copies import COPIES_MAX, IDLE_SECONDS, decode_state
from sherd.shard.replication.feed import REBUILD_QUIET_SECONDS, Feeds
from sherd.shard.replication.messages import COPY, FORK, LOG, NOTHING, REBUILD, Answer, Position, Pull
from sherd.shard.replies import ReplyGate, ReplySink

pytestmark = pytest.mark.core


class Pair:
    """A leader with its feeds, and a follower that is driven by hand."""

    def __init__(self, *, in_sync: bool = False, needs_sync: bool = False) -> None:
        self.disk, self.follower_disk, self.clock = CrashDisk(), CrashDisk(), ManualClock()
        self.world = replace(system_world(), disk=self.disk, clock=self.clock)
        self.leader = open_engine(self.disk, clock=self.clock)
        self.gate = ReplyGate(None, self.leader.synced_lsn, in_sync)
        self.reads: list[Any] = []
        self.feeds = Feeds(
            self.leader, self.gate, self.world, lambda *read: self.reads.append(read), needs_sync=needs_sync
        )
        self.feeds.set_members(1, ["2"], ["2"] if in_sync else [])
        self.follower = self.open_follower()
        self.store = b"the store it has"
        self.sink = ReplySink()
        self.client = ReplySink()

    def open_follower(self) -> Engine:
        return Engine.open(DIRECTORY, TINY, self.follower_disk, self.clock, random=seeded_bytes(9), follow=True)

    def position(self, name: str = "2") -> Position:
        follower = self.follower
        return Position(name, 7, follower.written_lsn, follower.synced_lsn, follower.terms, self.store)

    def pull(self, name: str = "2") -> None:
        """Ask, over the wire's encoding."""
        params = msgpack.unpackb(msgpack.packb(Pull(self.position(name), 2000, 500).encode()), raw=True)
        self.feeds.pull(self.sink, b"\x01", Pull.decode(params))

    def heard_again(self) -> bool:
        """Whether the follower was told that there is nothing, upon which it asks again."""
        answer = self.answer()
        self.pull()
        return answer is not None and answer.kind == NOTHING

    def run_reads(self) -> None:
        """What a thread would do."""
        reads, self.reads = self.reads, []
        for read, then in reads:
            then(read(), None)

    def answer(self) -> Answer | None:
        self.run_reads()
        self.gate.take_dirty()
        replies = decode(self.sink.take())
        if not replies:
            return None
        (reply,) = replies
        return Answer.decode(reply.result)

    def take(self, answer: Answer) -> None:
        assert answer.piece is not None
        for header, body in answer.piece.records():
            if header.last_lsn > self.follower.last_lsn:
                self.follower.apply(header, body)
        self.follower.commit()

    def catch_up(self) -> None:
        while self.follower.last_lsn < self.leader.last_lsn:
            self.pull()
            answer = self.answer()
            assert answer is not None
            assert answer.kind == LOG
            self.take(answer)

    def put(self, key: bytes, size: int = 10) -> int:
        lsn = self.leader.put(key, msgpack.packb(bytes(size)))
        self.leader.commit()
        self.feeds.serve()
        return lsn

    def told(self, what: str) -> object:
        """What status tells of the follower."""
        found = self.feeds.describe()["2"]
        assert isinstance(found, dict)
        return found[what]

    def reply(self, lsn: int) -> bool:
        """A client's reply that has seen this LSN: whether it leaves at once."""
        self.gate.reply(self.client, b"\x05", b"\xc3", lsn, False, True)
        return self.left()

    def left(self) -> bool:
        self.gate.take_dirty()
        return len(self.client.take()) > 0


def test_a_new_follower_gets_everything_from_files_and_then_from_memory() -> None:
    pair = Pair()
    for number in range(50):
        pair.put(b"key%d" % number, 100)
    pair.leader.tail = LogTail(pair.leader.last_lsn + 1, 1000)
    pair.catch_up()
    assert contents(pair.follower) == contents(pair.leader)
    pair.pull()
    assert pair.answer() is None  # parked
    pair.put(b"more")
    assert pair.reads == []
    answer = pair.answer()
    assert answer is not None
    assert (answer.kind, answer.leader.last_lsn) == (LOG, pair.leader.last_lsn)
    pair.take(answer)
    assert contents(pair.follower) == contents(pair.leader)


def test_who_waits_for_long_is_told_that_there_is_nothing() -> None:
    pair = Pair()
    pair.catch_up()
    pair.pull()
    pair.clock.advance(0.4)
    assert not pair.feeds.tick()
    pair.clock.advance(0.2)
    assert pair.feeds.tick()
    answer = pair.answer()
    assert answer is not None
    assert (answer.kind, answer.leader.term) == (NOTHING, 1)


def test_a_tail_that_is_not_the_leaders_is_a_fork() -> None:
    pair = Pair()
    pair.put(b"shared")
    pair.catch_up()
    fork = pair.follower.last_lsn
    pair.follower.close()
    old = Engine.open(DIRECTORY, TINY, pair.follower_disk, ManualClock(), random=seeded_bytes(4), term=2)
    old.put(b"unsent", b"1")
    old.close()
    pair.leader.close()
    pair.leader = Engine.open(DIRECTORY, TINY, pair.disk, pair.clock, random=seeded_bytes(5), term=3)
    pair.feeds = Feeds(pair.leader, pair.gate, pair.world, lambda *_: None, needs_sync=False)
    pair.feeds.set_members(1, ["2"], [])
    pair.follower = pair.open_follower()
    pair.pull()
    answer = pair.answer()
    assert answer is not None
    assert (answer.kind, answer.fork_lsn) == (FORK, fork)


def test_who_has_seen_a_later_term_or_is_unknown_is_not_answered() -> None:
    pair = Pair()
    pair.catch_up()
    pair.follower.lead(9)
    with pytest.raises(NotLeader, match="term 9"):
        pair.pull()
    with pytest.raises(NotLeader, match="no replica"):
        pair.pull("3")


def test_log_that_is_gone_has_to_be_copied() -> None:
    pair = Pair()
    pair.leader.retain(None)
    for number in range(300):
        pair.leader.put(b"key%d" % number, msgpack.packb(bytes(200)))
        pair.leader.commit()
        run_jobs(pair.leader, pair.disk)
    pair.leader.tail = LogTail(pair.leader.last_lsn + 1, 1000)
    pair.pull()
    answer = pair.answer()
    assert answer is not None
    assert answer.kind == COPY


def test_acknowledgements_wait_for_those_in_sync() -> None:
    pair = Pair(in_sync=True)
    pair.catch_up()
    pair.pull()
    first, second = pair.put(b"a"), pair.put(b"b")
    assert not pair.reply(first)
    assert not pair.reply(second)
    answer = pair.answer()
    assert answer is not None
    pair.take(answer)
    pair.feeds.ack(pair.position())
    assert pair.left()  # the first; the second was written after the answer
    pair.catch_up()
    pair.feeds.ack(pair.position())
    assert pair.left()
    assert pair.reply(second)
    third = pair.put(b"c")
    assert not pair.reply(third)
    pair.feeds.set_members(2, ["2"], [])  # it was taken out of the set
    assert pair.left()


def test_under_always_only_what_is_synced_counts() -> None:
    pair = Pair(in_sync=True, needs_sync=True)
    pair.catch_up()
    lsn = pair.put(b"a")
    assert not pair.reply(lsn)
    pair.catch_up()
    pair.feeds.ack(pair.position())
    assert not pair.left()
    pair.follower.sync()
    pair.feeds.ack(pair.position())
    assert pair.left()


def test_a_follower_is_admitted_once_it_has_what_was_written_before_it_was_waited_for() -> None:
    pair = Pair(in_sync=True)
    pair.feeds.set_members(2, ["2"], [])
    assert not pair.feeds.admit("unknown", 2)
    first = pair.put(b"a")
    assert pair.reply(first)  # nobody is in sync
    assert not pair.feeds.admit("2", 2)
    second = pair.put(b"b")
    assert not pair.reply(second)  # from here on it is waited for
    pair.catch_up()
    pair.feeds.ack(pair.position())
    assert pair.left()
    assert pair.feeds.admit("2", 2)
    third = pair.put(b"c")
    pair.feeds.set_members(2, ["2"], [])  # the same state seen again
    assert not pair.reply(third)
    pair.feeds.set_members(3, ["2"], [])  # a later one does not have it
    assert pair.left()


def test_what_is_known_of_one_that_has_died_meanwhile_admits_nobody() -> None:
    pair = Pair()
    pair.put(b"a")
    pair.catch_up()
    pair.pull()
    assert not pair.feeds.admit("2", 2)  # it had everything, and is not heard of any more
    assert not pair.feeds.admit("2", 2)
    pair.follower_disk = CrashDisk()
    pair.follower = pair.open_follower()  # its disk was replaced
    assert pair.heard_again()
    assert not pair.feeds.admit("2", 2)
    answer = pair.answer()
    assert answer is not None
    pair.take(answer)
    pair.feeds.ack(pair.position())
    assert pair.feeds.admit("2", 2)


def test_one_that_the_leader_thinks_to_be_in_sync_yet_is_admitted_anew() -> None:
    """The topology has taken it out meanwhile, and whoever asks has seen that."""
    pair = Pair(in_sync=True)
    pair.catch_up()
    pair.feeds.ack(pair.position())
    assert pair.feeds.admit("2", 1)
    pair.put(b"a")
    assert not pair.feeds.admit("2", 2)
    pair.feeds.set_members(2, ["2"], [])
    assert pair.told("awaited") is True
    assert not pair.reply(pair.put(b"b"))
    pair.catch_up()
    pair.feeds.ack(pair.position())
    assert pair.feeds.admit("2", 2)


def test_who_has_another_history_is_to_give_it_up_and_keep_it_aside() -> None:
    pair = Pair()
    pair.put(b"a")
    pair.feeds.pull(pair.sink, b"\x01", Pull(Position("2", 7, 500, 400, ((1, 300),)), 2000, 500))
    answer = pair.answer()
    assert answer is not None
    assert (answer.kind, answer.fork_lsn) == (REBUILD, 0)


def test_a_copy_pins_the_tables_until_it_ends_or_is_given_up() -> None:
    pair = Pair()
    for number in range(300):
        pair.leader.put(b"key%d" % number, msgpack.packb(bytes(200)))
        pair.leader.commit()
        run_jobs(pair.leader, pair.disk)
    copy, found = pair.feeds.copies.begin()
    state = decode_state(msgpack.unpackb(msgpack.packb(found)))
    table = state.tables[-1]
    pair.leader.request_compact()
    run_jobs(pair.leader, pair.disk)
    size = min(table.bytes, 100)
    assert len(pair.feeds.copies.read(copy, table.number, 0, size)) == size
    with pytest.raises(BadRequest):
        pair.feeds.copies.read(copy, table.number, table.bytes, 1)
    with pytest.raises(BadRequest):
        pair.feeds.copies.read(copy, 10_000, 0, 1)
    pair.clock.advance(IDLE_SECONDS + 1)
    pair.feeds.tick()
    with pytest.raises(Unavailable):
        pair.feeds.copies.read(copy, table.number, 0, size)
    begun = [pair.feeds.copies.begin()[0] for _ in range(COPIES_MAX)]
    with pytest.raises(Overloaded):
        pair.feeds.copies.begin()
    for copy in (*begun, begun[0]):
        pair.feeds.copies.end(copy)
    pair.feeds.close()
    pair.leader.close()


@pytest.mark.parametrize(
    "params",
    [
        [],
        [1, 2, 3],
        [[b"2", 1, 5, 5, [], b""], 10, 10],
        [[b"2", 1, 5, 6, [], b"", 0], 10, 10],
        [[b"2", 1, 5, 5, [[1]], b"", 0], 10, 10],
        [[b"2", 1, 5, 5, [], b"", 0], 0, 10],
    ],
)
def test_malformed_questions_are_refused(params: list[Any]) -> None:
    with pytest.raises(BadRequest):
        Pull.decode(params)


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        ["log", [1, 2, 3, 4, []], []],
        ["other", [1, 2, 3, 4, []], [0]],
        ["log", [1], [0]],
        ["nothing", [1, 2, 3, 4], [0]],
        ["nothing", [1, 2, 3, 4, [1]], [0]],
    ],
)
def test_malformed_answers_are_refused(found: Any) -> None:
    with pytest.raises(ValueError, match="malformed"):
        Answer.decode(found)


def test_what_a_later_version_appends_is_passed_over() -> None:
    pull = Pull(Position("2", 1, 5, 5, [(1, 3)], b"store", 4), 10, 20)
    position, *rest = msgpack.unpackb(msgpack.packb(pull.encode()), raw=True)
    assert Pull.decode([[*position, b"more"], *rest]) == replace(pull, position=replace(pull.position, terms=((1, 3),)))
    answer = Answer.decode(["fork", [1, 2, 3, 4, []], [7]])
    assert Answer.decode(["fork", [1, 2, 3, 4, [], "more"], [7], "more"]) == answer


def test_who_is_to_give_up_what_it_holds_is_told_once_nobody_counts_it_in_sync() -> None:
    pair = Pair(in_sync=True)
    with pytest.raises(Unavailable, match="not been heard of"):
        pair.feeds.rebuild("2")
    pair.put(b"a")
    pair.catch_up()
    pair.feeds.ack(pair.position())
    assert pair.feeds.has_all("2")
    pair.feeds.rebuild("2")
    assert pair.told("rebuild") is True
    assert not pair.feeds.has_all("2")  # nobody hands over to it
    pair.put(b"b")
    pair.catch_up()  # it is in sync: acknowledgements wait for it, so it gets the log
    pair.feeds.set_members(2, ["2"], [])
    pair.pull()
    answer = pair.answer()
    assert answer is not None
    assert (answer.kind, answer.fork_lsn) == (REBUILD, 0)
    assert not pair.feeds.admit("2", 2)
    pair.store = b"another store"
    pair.pull()
    assert pair.told("rebuild") is False
    assert pair.answer() is None  # parked: it has everything
    assert not pair.feeds.admit("2", 2)
    assert pair.heard_again()
    assert pair.feeds.admit("2", 2)


def test_who_is_to_begin_anew_again_and_again_does_so_after_ever_longer_pauses() -> None:
    pair = Pair()
    pair.put(b"a")
    pair.catch_up()

    def asked_anew(store: bytes) -> float:
        """How long it is until the follower, which has this store, may begin anew."""
        pair.store = store
        pair.feeds.ack(pair.position())
        assert pair.told("rebuild") is False
        began = pair.clock.monotonic()
        pair.feeds.rebuild("2")
        pair.feeds.rebuild("2")  # and again, which changes nothing
        while True:
            assert pair.told("rebuild") is True
            pair.pull()
            answer = pair.answer()
            if answer is not None and answer.kind == REBUILD:
                return pair.clock.monotonic() - began
            pair.clock.advance(1.0)
            pair.feeds.tick()
            assert pair.answer() is not None  # there is nothing new

    assert [asked_anew(b"store %d" % number) for number in range(4)] == [0.0, 10.0, 20.0, 40.0]
    pair.clock.advance(REBUILD_QUIET_SECONDS)
    assert asked_anew(b"store 5") == 0.0


def test_who_was_admitted_is_waited_for_even_if_it_is_to_give_up_what_it_holds() -> None:
    pair = Pair(in_sync=True)
    pair.feeds.set_members(2, ["2"], [])
    pair.catch_up()
    pair.feeds.ack(pair.position())
    assert not pair.feeds.admit("2", 2)
    pair.feeds.ack(pair.position())
    assert pair.feeds.admit("2", 2)  # whoever asked may be adding it to the set now
    pair.feeds.rebuild("2")
    lsn = pair.put(b"a")
    assert not pair.reply(lsn)
    pair.pull()
    answer = pair.answer()
    assert answer is not None
    assert answer.kind == LOG
    pair.take(answer)
    pair.pull()
    assert pair.left()
    assert pair.feeds.admit("2", 2)
    pair.feeds.set_members(3, ["2"], ["2"])
    pair.feeds.set_members(4, ["2"], [])  # it was added, and taken out again
    assert pair.reply(pair.put(b"b"))
    assert pair.answer() is not None
    pair.pull()
    answer = pair.answer()
    assert answer is not None
    assert answer.kind == REBUILD


def test_a_comparison_is_told_to_those_who_wait() -> None:
    pair = Pair()
    pair.catch_up()
    pair.pull()
    assert pair.answer() is None
    number, lsn, _, _ = pair.feeds.comparisons.begin("hash")
    pair.feeds.tell_all()
    answer = pair.answer()
    assert answer is not None
    assert (answer.kind, answer.leader.marks) == (NOTHING, [(number, lsn)])
    pair.feeds.close()
    assert pair.feeds.comparisons.marks == []
