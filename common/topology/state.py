"""The topology: everything the processes of one cluster agree on, as one immutable value.

``version`` grows by one with every change and is what compare-and-set compares; the layout's own counter changes only
with ownership or boundaries. Processes may hold an old copy: correctness never rests on it being new.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from sherd.common.errors import ConfigError
from sherd.common.topology.layout import Layout
from sherd.common.types import ShardId, Term

Phase = Literal["prepare", "copy", "tail", "freeze", "ready", "commit", "clean", "aborted"]
PHASES: tuple[Phase, ...] = ("prepare", "copy", "tail", "freeze", "ready", "commit", "clean", "aborted")
NO_TERM = Term(0)


@dataclass(frozen=True, slots=True)
class ShardState:
    """Who leads a shard. ``leader`` is its address, empty while nobody serves; ``term`` rises with every start."""

    id: ShardId
    term: Term = NO_TERM
    leader: str = ""
    followers: tuple[str, ...] = ()
    in_sync: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.id < 1 or self.term < 0:
            raise ConfigError(f"shard {self.id}: id must be 1 or more and term {self.term} not negative")

    def to_json(self) -> dict[str, object]:
        return {
            "term": self.term,
            "leader": self.leader,
            "followers": list(self.followers),
            "in_sync": list(self.in_sync),
        }

    @classmethod
    def from_json(cls, id_: ShardId, data: Mapping[str, object]) -> "ShardState":
        return cls(
            id_,
            Term(int(cast("int", data["term"]))),
            str(data["leader"]),
            _names(data["followers"]),
            _names(data["in_sync"]),
        )


@dataclass(frozen=True, slots=True)
class Move:
    """Partitions on their way from one shard to another. The terms are those both had when it began."""

    id: int
    partitions: tuple[int, ...]
    source: ShardId
    target: ShardId
    phase: Phase
    source_term: Term
    target_term: Term

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ConfigError(f"move {self.id}: unknown phase {self.phase!r}")
        if not self.partitions or self.source == self.target:
            raise ConfigError(f"move {self.id}: needs partitions and two different shards")

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "partitions": list(self.partitions),
            "from": self.source,
            "to": self.target,
            "phase": self.phase,
            "terms": [self.source_term, self.target_term],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "Move":
        source_term, target_term = cast("list[int]", data["terms"])
        return cls(
            int(cast("int", data["id"])),
            tuple(int(id_) for id_ in cast("list[int]", data["partitions"])),
            ShardId(int(cast("int", data["from"]))),
            ShardId(int(cast("int", data["to"]))),
            cast("Phase", data["phase"]),
            Term(int(source_term)),
            Term(int(target_term)),
        )


@dataclass(frozen=True, slots=True)
class Topology:
    """Layout, shards and moves of one cluster. Every owner in the layout is among the shards."""

    version: int
    cluster_id: str
    layout: Layout
    shards: Mapping[ShardId, ShardState]
    moves: tuple[Move, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.version < 1 or not self.cluster_id:
            raise ConfigError("a topology needs a version of 1 or more and a cluster id")
        for id_, shard in self.shards.items():
            if id_ != shard.id:
                raise ConfigError(f"shard {shard.id} is filed under {id_}")
        missing = set(self.layout.owners) - set(self.shards)
        if missing:
            raise ConfigError(f"the layout names shards that do not exist: {sorted(missing)}")
        partitions = {partition.id for partition in self.layout.partitions}
        for move in self.moves:
            if not partitions.issuperset(move.partitions) or not {move.source, move.target} <= set(self.shards):
                raise ConfigError(f"move {move.id} names partitions or shards that do not exist")

    def with_shard(self, shard: ShardState) -> "Topology":
        """The next version, with one shard's state replaced."""
        return replace(self, version=self.version + 1, shards={**self.shards, shard.id: shard})

    def to_json(self) -> dict[str, object]:
        """A JSON-able dict."""
        return {
            "version": self.version,
            "cluster": self.cluster_id,
            "layout": self.layout.to_json(),
            "shards": {str(id_): self.shards[id_].to_json() for id_ in sorted(self.shards)},
            "moves": [move.to_json() for move in self.moves],
        }

    @classmethod
    def from_json(cls, data: object) -> "Topology":
        """The topology of ``to_json``; ConfigError if it is malformed."""
        try:
            fields = cast("dict[str, object]", data)
            shards = cast("dict[str, dict[str, object]]", fields["shards"])
            moves = cast("list[dict[str, object]]", fields["moves"])
            return cls(
                int(cast("int", fields["version"])),
                str(fields["cluster"]),
                Layout.from_json(fields["layout"]),
                {ShardId(int(id_)): ShardState.from_json(ShardId(int(id_)), state) for id_, state in shards.items()},
                tuple(Move.from_json(move) for move in moves),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"malformed topology: {error!r}") from error


def _names(found: object) -> tuple[str, ...]:
    return tuple(str(name) for name in cast("list[str]", found))
