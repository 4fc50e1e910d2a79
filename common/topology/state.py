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
FIRST_REPLICA = "1"


def replica_dir(shard: ShardId, name: str) -> str:
    """The usual name of a replica's directory, in the one of its cluster on a host."""
    return f"shard-{shard}" if name == FIRST_REPLICA else f"shard-{shard}-replica-{name}"


@dataclass(frozen=True, slots=True)
class ShardState:
    """The replicas of a shard and who of them leads.

    ``replicas`` has the address of each by its name, empty while it is not known to serve. ``leader`` is the name of
    the one that leads in ``term``, which rises with every start of a leader; ``predecessors`` are those that led before
    and whose logs it may still have to take over, the oldest first. ``in_sync`` names those that have all that was
    acknowledged, the leader among them: only they may be made leader. ``led`` says that somebody has led: from then on
    a store that has just been made lacks something. ``revision`` grows with every change of this state.
    """

    id: ShardId
    term: Term = NO_TERM
    leader: str = FIRST_REPLICA
    replicas: Mapping[str, str] = field(default_factory=lambda: {FIRST_REPLICA: ""})
    in_sync: tuple[str, ...] = (FIRST_REPLICA,)
    predecessors: tuple[str, ...] = ()
    led: bool = False
    revision: int = 0

    def __post_init__(self) -> None:
        if self.id < 1 or self.term < 0:
            raise ConfigError(f"shard {self.id}: id must be 1 or more and term {self.term} not negative")
        if self.leader not in self.in_sync or not set(self.in_sync) <= set(self.replicas):
            raise ConfigError(f"shard {self.id}: leader {self.leader!r} must be in sync, and who is in sync a replica")

    @classmethod
    def led_at(cls, id_: ShardId, term: Term, address: str) -> "ShardState":
        """Of a shard that has one replica, which leads from ``address``."""
        return cls(id_, term, FIRST_REPLICA, {FIRST_REPLICA: address})

    @property
    def leader_address(self) -> str:
        """Where the leader is reached; empty while nobody serves."""
        return self.replicas[self.leader]

    @property
    def followers(self) -> tuple[str, ...]:
        """The names of the replicas that do not lead."""
        return tuple(name for name in sorted(self.replicas) if name != self.leader)

    def to_json(self) -> dict[str, object]:
        return {
            "term": self.term,
            "leader": self.leader,
            "replicas": dict(self.replicas),
            "in_sync": list(self.in_sync),
            "predecessors": list(self.predecessors),
            "led": self.led,
            "revision": self.revision,
        }

    @classmethod
    def from_json(cls, id_: ShardId, data: Mapping[str, object]) -> "ShardState":
        """Also what was written before there were followers, when ``leader`` was an address."""
        term = Term(int(cast("int", data["term"])))
        if "replicas" not in data:
            return cls.led_at(id_, term, str(data["leader"]))
        replicas = cast("dict[str, str]", data["replicas"])
        return cls(
            id_,
            term,
            str(data["leader"]),
            {str(name): str(address) for name, address in replicas.items()},
            tuple(str(name) for name in cast("list[str]", data["in_sync"])),
            tuple(str(name) for name in cast("list[str]", data["predecessors"])),
            bool(data.get("led", False)),
            int(cast("int", data["revision"])),
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
    """Layout, shards and moves of one cluster. Every owner in the layout is among the shards. ``coordinator`` is the
    address of who changes it, empty while nobody does.
    """

    version: int
    cluster_id: str
    layout: Layout
    shards: Mapping[ShardId, ShardState]
    moves: tuple[Move, ...] = field(default=())
    coordinator: str = ""

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
        shard = replace(shard, revision=self.shards[shard.id].revision + 1)
        return replace(self, version=self.version + 1, shards={**self.shards, shard.id: shard})

    def with_coordinator(self, address: str) -> "Topology":
        """The next version, with another coordinator."""
        return replace(self, version=self.version + 1, coordinator=address)

    def to_json(self) -> dict[str, object]:
        """A JSON-able dict."""
        return {
            "version": self.version,
            "cluster": self.cluster_id,
            "coordinator": self.coordinator,
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
                str(fields.get("coordinator", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"malformed topology: {error!r}") from error
