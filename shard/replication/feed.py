"""The leader's side of replication, without I/O: answers its followers' pulls, and knows how far each of them is.

A pull is parked until there is something to answer: log from memory at once, log from files when a thread has read it,
and after ``wait_ms`` that there is nothing, so that the follower knows its leader lives. ``serve`` looks at the parked
pulls after every commit; ``tick`` at the clock.

Invariants: a follower has at most one pull parked, the latest; what counts as acknowledged by it is never beyond the
place up to which its log is known to be the same as ours. A follower is told to give up what it holds (``rebuild``)
only when nobody counts it in sync any more.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgpack

from sherd.common.errors import NotLeader, StoreCorrupt, Unavailable
from sherd.common.logs import event
from sherd.common.world import World
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import TERM_LSN_STEP
from sherd.shard.lsm.log_tail import LogPiece, LogTail
from sherd.shard.lsm.segment_tail import SegmentTail
from sherd.shard.replication.comparisons import Comparisons
from sherd.shard.replication.copies import Copies
from sherd.shard.replication.history import common_lsn
from sherd.shard.replication.messages import COPY, FORK, LOG, NOTHING, REBUILD, Answer, LeaderState, Position, Pull
from sherd.shard.replication.progress import Progress, Sample
from sherd.shard.replies import ReplyGate, ReplySink

log = logging.getLogger(__name__)

TAIL_BYTES_MAX = 16 << 20
"""Log kept in memory for followers."""
REBUILD_PAUSE_SECONDS_MIN = 10.0
"""Before a follower is told to begin anew once more; it doubles each time, or a dying disk would have the leader copied
without end."""
REBUILD_PAUSE_SECONDS_MAX = 600.0
REBUILD_QUIET_SECONDS = 3600.0
"""After this long without one the next is told at once."""


@dataclass(slots=True)
class _Admission:
    """A follower that is waited for since the shard's state was at ``revision``, and may be in sync once it is
    ``heard`` to have everything up to ``target_lsn``.
    """

    revision: int
    target_lsn: int
    heard: bool = False


ReadInThread = Callable[[Callable[[], LogPiece | None], Callable[[LogPiece | None, Exception | None], None]], None]
"""Runs the first in a thread, and then the second with what came of it, here."""


@dataclass(slots=True)
class _Parked:
    """A pull that waits for its answer."""

    sink: ReplySink
    msgid: bytes
    pull: Pull
    until: float


@dataclass(slots=True)
class Feed:
    """One follower as its leader sees it. ``acked_lsn`` counts for acknowledgements; ``heard_at`` is monotonic, and
    when the leader began to listen for one whose ``pid`` is 0: that was not heard yet. ``quarantined`` and ``store``
    are what it says; ``given_up`` is the id of the store that it is to give up, at ``rebuild_at`` and not before.
    """

    name: str
    heard_at: float
    acked_lsn: int = 0
    pid: int = 0
    quarantined: int = 0
    store: bytes = b""
    given_up: bytes = b""
    rebuild_at: float = float("-inf")
    rebuild_pause: float = 0.0
    parked: _Parked | None = None
    files: SegmentTail | None = None
    reading: bool = False
    told: set[str] = field(default_factory=set)

    @property
    def to_rebuild(self) -> bool:
        """Whether it still has the store that it is to give up."""
        return self.given_up != b"" and self.given_up == self.store

    def give_up(self, now: float) -> None:
        """It is to give up the store that it has; after a pause if that was so for another one not long ago."""
        if self.to_rebuild:
            return
        self.given_up = self.store
        if now - self.rebuild_at >= REBUILD_QUIET_SECONDS:
            self.rebuild_pause = 0.0
        else:
            self.rebuild_pause = max(REBUILD_PAUSE_SECONDS_MIN, min(2 * self.rebuild_pause, REBUILD_PAUSE_SECONDS_MAX))
            event(
                log, logging.WARNING, "follower is to begin anew once more, after a pause", follower=self.name,
                seconds=self.rebuild_pause,
            )  # fmt: skip
        self.rebuild_at = now + self.rebuild_pause


class Feeds:
    """All followers of a leader. ``needs_sync``: only what is on their stable storage counts. ``copies`` are of its
    tables, for those that are too far behind; ``comparisons`` are with what they hold.
    """

    def __init__(
        self,
        engine: Engine,
        gate: ReplyGate,
        world: World,
        read_in_thread: ReadInThread,
        *,
        needs_sync: bool,
    ) -> None:
        self._engine = engine
        self._gate = gate
        self._monotonic = world.clock.monotonic
        self._read_in_thread = read_in_thread
        self._needs_sync = needs_sync
        self._feeds: dict[str, Feed] = {}
        self._in_sync: frozenset[str] = frozenset()
        self._revision = 0
        self._admitted: dict[str, _Admission] = {}
        self._progress = Progress()
        self.copies = Copies(engine, world)
        self.comparisons = Comparisons(engine, world)
        engine.tail = LogTail(engine.last_lsn + 1, TAIL_BYTES_MAX)

    def set_members(self, revision: int, members: Iterable[str], in_sync: Iterable[str]) -> None:
        """The shard's state is at ``revision``: who is not in sync is no longer waited for, unless admitted since."""
        wanted = set(members)
        self._admitted = {
            name: admission
            for name, admission in self._admitted.items()
            if admission.revision >= revision and name in wanted
        }
        for name in wanted - self._feeds.keys():
            self._feeds[name] = Feed(name, self._monotonic())
        for name in self._feeds.keys() - wanted:
            self._close(self._feeds.pop(name))
        self._in_sync = frozenset(in_sync) & wanted
        self._revision = revision
        self._count()

    def pull(self, sink: ReplySink, msgid: bytes, pull: Pull) -> None:
        """A follower asks for the log. NotLeader if it has seen a later term than this leader's, or is none of ours."""
        feed = self._note(pull.position)
        if feed.parked is not None:
            self._answer(feed, NOTHING)
        feed.parked = _Parked(sink, msgid, pull, self._monotonic() + pull.wait_ms / 1000)
        common = self._common(pull.position)
        if self._begins_anew(feed):
            self._tell_once(feed, "is to give up what it holds", pull.position)
            self._answer(feed, REBUILD)
        elif common is None:
            self._tell_once(feed, "has another history", pull.position)
            self._answer(feed, REBUILD)
        elif common < pull.position.written_lsn:
            self._tell_once(feed, "has a tail that is not ours", pull.position)
            self._answer(feed, FORK, fork_lsn=common)
        elif not feed.reading:
            self._serve(feed)

    def admit(self, name: str, revision: int) -> bool:
        """Wait for this follower from here on; True once it has said since that it has all that was written when that
        began: what is known of one that has died meanwhile does not count.

        Then the next revision of the shard's state may count it in sync. It is waited for until a state later than
        ``revision`` says whether it is: so whoever adds it there can't be too late.
        """
        feed = self._feeds.get(name)
        if feed is None or (feed.to_rebuild and name not in self._admitted):
            return False
        if name in self._in_sync and revision <= self._revision:
            return True
        if name not in self._admitted:
            self._admitted[name] = _Admission(revision, self._engine.last_lsn)
            self._count()
            if not feed.reading:
                self._answer(feed, NOTHING)  # so that it asks again, and is heard
        admission = self._admitted[name]
        return admission.heard and feed.acked_lsn >= admission.target_lsn

    def rebuild(self, name: str) -> None:
        """What this follower holds is wrong or damaged: once it is not in sync, it is told to begin anew with a copy.
        It is in no hurry with one that has done so not long ago.

        ``describe`` says ``rebuild`` until it has. Harmless when repeated. Unavailable if it was not heard of yet.
        """
        feed = self._feeds.get(name)
        if feed is None or not feed.store:
            raise Unavailable(f"follower {name!r} has not been heard of; it can't be told to begin anew")
        feed.give_up(self._monotonic())

    def tell_all(self) -> None:
        """Answer all who wait, so that they learn at once what every answer tells."""
        for feed in self._feeds.values():
            if feed.parked is not None and not feed.reading:
                self._answer(feed, NOTHING)

    def ack(self, position: Position) -> None:
        """A follower says how far it is."""
        self._note(position)

    def serve(self) -> bool:
        """Something was written: answer who waits for it. Whether anybody was."""
        answered = False
        for feed in self._feeds.values():
            if feed.parked is not None and not feed.reading:
                self._serve(feed)
                answered = answered or feed.parked is None
        return answered

    def tick(self) -> bool:
        """Tell those who have waited long enough that there is nothing; whether any. To be called regularly."""
        told = False
        self.copies.tick()
        self.comparisons.tick()
        now = self._monotonic()
        self._progress.note(self._now())
        for feed in self._feeds.values():
            if feed.parked is not None and not feed.reading and now >= feed.parked.until:
                self._answer(feed, NOTHING)
                told = True
        return told

    def has_all(self, name: str) -> bool:
        """Whether that follower has acknowledged everything, and is not to give it up."""
        feed = self._feeds.get(name)
        return feed is not None and not feed.to_rebuild and feed.acked_lsn >= self._engine.last_lsn

    def all_have_all(self) -> bool:
        """Whether everybody in sync has acknowledged everything."""
        return all(self._feeds[name].acked_lsn >= self._engine.last_lsn for name in self._in_sync)

    def close(self) -> None:
        """Lead no longer."""
        self._engine.tail = None
        self.copies.close()
        self.comparisons.close()
        for feed in self._feeds.values():
            self._close(feed)

    def describe(self) -> dict[str, object]:
        """For status, by name: how far each follower is, how far behind, and when it was heard."""
        now = self._now()
        found: dict[str, object] = {}
        for name, feed in self._feeds.items():
            gaps = sum(TERM_LSN_STEP - 1 for _, lsn in self._engine.terms if lsn > feed.acked_lsn)
            lag = self._progress.lag(feed.acked_lsn, now, gaps)
            found[name] = {
                "pid": feed.pid or None,
                "acked_lsn": feed.acked_lsn,
                "lag_records": lag.records,
                "lag_bytes": lag.log_bytes,
                "lag_seconds": round(lag.seconds, 3),
                "heard_seconds_ago": round(now.at - feed.heard_at, 3),
                "quarantined": feed.quarantined,
                "awaited": name in self._in_sync or name in self._admitted,
                "rebuild": feed.to_rebuild,
            }
        return found

    def _begins_anew(self, feed: Feed) -> bool:
        """Whether it gives up what it holds now. Until then it gets the log."""
        awaited = feed.name in self._in_sync or feed.name in self._admitted
        return feed.to_rebuild and not awaited and self._monotonic() >= feed.rebuild_at

    def _now(self) -> Sample:
        return Sample(self._engine.written_lsn, self._engine.log_bytes, self._monotonic())

    def _note(self, position: Position) -> Feed:
        feed = self._feeds.get(position.name)
        if feed is None:
            raise NotLeader(f"{position.name!r} is no replica of this shard that the leader knows of")
        if position.terms and position.terms[-1][0] > self._engine.term:
            raise NotLeader(f"the follower has seen term {position.terms[-1][0]}, this is term {self._engine.term}")
        feed.heard_at, feed.pid, feed.store = self._monotonic(), position.pid, position.store
        feed.quarantined = position.quarantined
        common = self._common(position) or 0
        acked = position.synced_lsn if self._needs_sync else position.written_lsn
        feed.acked_lsn = min(acked, common)
        if position.name in self._admitted:
            self._admitted[position.name].heard = True
        self._count()
        return feed

    def _common(self, position: Position) -> int | None:
        engine = self._engine
        return common_lsn(engine.terms, engine.written_lsn, position.terms, position.written_lsn)

    def _count(self) -> None:
        """What is acknowledged has changed: tell the gate, and which log is still needed."""
        awaited = self._in_sync | self._admitted.keys()
        acked_lsn = min((self._feeds[name].acked_lsn for name in awaited), default=None)
        self._gate.replicated(acked_lsn, 1 + len(self._in_sync))
        self._engine.retain(self._needed_lsn())

    def _needed_lsn(self) -> int | None:
        """The first LSN that some follower may still ask for; None if there is no follower."""
        return min((feed.acked_lsn + 1 for feed in self._feeds.values()), default=None)

    def _serve(self, feed: Feed) -> None:
        parked = feed.parked
        if parked is None:
            return
        next_lsn = parked.pull.position.written_lsn + 1
        if next_lsn > self._engine.written_lsn:
            return
        tail = self._engine.tail
        piece = None if tail is None else tail.read(next_lsn, parked.pull.bytes_max)
        if piece is not None:
            self._answer(feed, LOG, piece)
        else:
            self._read_files(feed, next_lsn, parked.pull.bytes_max)

    def _read_files(self, feed: Feed, next_lsn: int, bytes_max: int) -> None:
        """Have a thread read what is no longer in memory."""
        engine = self._engine
        if feed.files is None or feed.files.next_lsn != next_lsn:
            self._close_files(feed)
            feed.files = SegmentTail(engine.disk, engine.directory, next_lsn)
        files, segments, written_lsn = feed.files, engine.log_segments, engine.written_lsn
        feed.reading = True

        def done(piece: LogPiece | None, error: Exception | None) -> None:
            feed.reading = False
            if self._feeds.get(feed.name) is not feed:
                files.close()
                return
            if isinstance(error, (OSError, StoreCorrupt)):
                event(log, logging.ERROR, "log for a follower not readable", follower=feed.name, error=error)
                self._close_files(feed)
            elif error is not None:
                raise error
            if feed.parked is not None and feed.parked.pull.position.written_lsn + 1 != next_lsn:
                self._serve(feed)  # it has asked anew, for another place
            elif piece is None:
                self._answer(feed, COPY)
            else:
                self._answer(feed, LOG, piece)

        self._read_in_thread(lambda: files.read(segments, written_lsn, bytes_max), done)

    def _answer(self, feed: Feed, kind: str, piece: LogPiece | None = None, fork_lsn: int = 0) -> None:
        parked, feed.parked = feed.parked, None
        if parked is None:
            return
        engine = self._engine
        needed_lsn, marks = self._needed_lsn() or 0, self.comparisons.marks
        leader = LeaderState(engine.term, engine.written_lsn, engine.now_ms(), needed_lsn, marks)
        answer = msgpack.packb(Answer(kind, leader, piece, fork_lsn).encode())
        self._gate.reply(parked.sink, parked.msgid, answer, 0, False, False)

    def _tell_once(self, feed: Feed, what: str, position: Position) -> None:
        if what not in feed.told:
            feed.told.add(what)
            event(
                log, logging.WARNING, f"follower {what}", follower=feed.name, written_lsn=position.written_lsn,
                terms=list(position.terms[-3:]), our_terms=self._engine.terms[-3:],
            )  # fmt: skip

    def _close(self, feed: Feed) -> None:
        self._answer(feed, NOTHING)
        if not feed.reading:
            self._close_files(feed)

    def _close_files(self, feed: Feed) -> None:
        if feed.files is not None:
            feed.files.close()
            feed.files = None
