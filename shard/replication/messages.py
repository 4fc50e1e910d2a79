"""What a follower asks its leader, and what it is answered; over the shard's ordinary protocol.

``pull`` asks for the log from an LSN on and says how far the follower is; the leader answers when there is something,
or that there is nothing when the wait is over. ``ack`` says how far the follower is without asking for anything.

While a cluster is being upgraded the two may be of different versions: what a later one appends to a position, a
leader's state or an answer is passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from sherd.common.errors import BadRequest
from sherd.shard.lsm.log_tail import LogPiece

TERMS_SENT_MAX = 100
PULL_BYTES_MAX = 64 << 20
WAIT_MS_MAX = 60_000


@dataclass(frozen=True, slots=True)
class Position:
    """How far the follower ``name`` is, a process of this ``pid``: last LSN in its log, and in stable storage, and the
    latest of its history. ``store`` is the id of its store, another one when that was made anew; ``quarantined`` the
    number of files in its quarantine.
    """

    name: str
    pid: int
    written_lsn: int
    synced_lsn: int
    terms: Sequence[tuple[int, int]] = ()
    store: bytes = b""
    quarantined: int = 0

    def encode(self) -> list[Any]:
        """MessagePack-able."""
        latest = [list(term) for term in self.terms[-TERMS_SENT_MAX:]]
        return [self.name, self.pid, self.written_lsn, self.synced_lsn, latest, self.store, self.quarantined]

    @classmethod
    def decode(cls, found: object) -> Self:
        """BadRequest for anything that ``encode`` does not give."""
        match found:
            case [
                bytes(name),
                int(pid),
                int(written),
                int(synced),
                list(terms),
                bytes(store),
                int(quarantined),
                *_,
            ] if written >= synced >= 0:
                pairs = []
                for pair in terms:
                    match pair:
                        case [int(term), int(lsn)]:
                            pairs.append((term, lsn))
                        case _:
                            raise BadRequest("a term in a follower's history is not a pair of numbers")
                return cls(name.decode(errors="replace"), pid, written, synced, tuple(pairs), store, quarantined)
        raise BadRequest("a follower's position is malformed")


@dataclass(frozen=True, slots=True)
class Pull:
    """A question for the log behind ``position``."""

    position: Position
    bytes_max: int
    wait_ms: int

    def encode(self) -> list[Any]:
        """The params."""
        return [self.position.encode(), self.bytes_max, self.wait_ms]

    @classmethod
    def decode(cls, params: list[object]) -> Self:
        """BadRequest for anything that ``encode`` does not give."""
        match params:
            case [position, int(bytes_max), int(wait_ms)]:
                if 0 < bytes_max <= PULL_BYTES_MAX and 0 <= wait_ms <= WAIT_MS_MAX:
                    return cls(Position.decode(position), bytes_max, wait_ms)
        raise BadRequest("pull takes a position, bytes and milliseconds")


@dataclass(frozen=True, slots=True)
class LeaderState:
    """What every answer tells of the leader: the last LSN in its log, its time, from where on anybody may need the log,
    and at which LSNs replicas are being compared, (id, LSN) each.
    """

    term: int
    last_lsn: int
    time_ms: int
    needed_lsn: int
    marks: Sequence[tuple[int, int]] = ()


LOG, NOTHING, FORK, COPY, REBUILD = "log", "nothing", "fork", "copy", "rebuild"
"""Kinds of answers to a pull: a piece of the log; nothing new; cut your log behind an LSN; it is no longer here; what
you hold is wrong, begin anew with a copy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To a pull. ``piece`` with LOG, ``fork_lsn`` with FORK."""

    kind: str
    leader: LeaderState
    piece: LogPiece | None = None
    fork_lsn: int = 0

    def encode(self) -> list[Any]:
        """MessagePack-able."""
        leader = self.leader
        marks = [list(mark) for mark in leader.marks]
        state = [leader.term, leader.last_lsn, leader.time_ms, leader.needed_lsn, marks]
        rest: list[Any] = [self.fork_lsn]
        if self.piece is not None:
            rest = [self.piece.first_lsn, self.piece.last_lsn, self.piece.salt, self.piece.data]
        return [self.kind, state, rest]

    @classmethod
    def decode(cls, found: object) -> Self:
        """ValueError for anything that ``encode`` does not give."""
        match found:
            case [str(kind), [int(term), int(last_lsn), int(time_ms), int(needed_lsn), list(marks), *_], rest, *_]:
                leader = LeaderState(term, last_lsn, time_ms, needed_lsn, _marks(marks))
                match kind, rest:
                    case "log", [int(first), int(last), int(salt), bytes(data)]:
                        return cls(kind, leader, LogPiece(first, last, salt, data))
                    case (("nothing" | "fork" | "copy" | "rebuild"), [int(fork_lsn)]):
                        return cls(kind, leader, None, fork_lsn)
        raise ValueError("a leader's answer is malformed")


def _marks(found: list[Any]) -> list[tuple[int, int]]:
    marks = []
    for mark in found:
        match mark:
            case [int(number), int(lsn)]:
                marks.append((number, lsn))
            case _:
                raise ValueError("a mark in a leader's answer is malformed")
    return marks
