"""The topology put together from its keys, as they are at one revision of etcd's: without I/O.

Each key is decoded when a topology is first made of it, and not again while it stays the same: a layout may have
thousands of partitions, and most changes are of one shard's state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sherd.cluster.etcd.api import Change, Holds, KeyValue
from sherd.cluster.etcd.keys import Keys
from sherd.common.errors import ConfigError, StoreCorrupt
from sherd.common.topology.layout import Layout
from sherd.common.topology.state import Move, ShardState, Topology


@dataclass(slots=True)
class _Part:
    value: bytes
    revision: int
    decoded: object = None


class Parts:
    """The topology's keys at ``revision``, which only grows. What is older is passed over."""

    def __init__(self, keys: Keys) -> None:
        self.revision = 0
        self._keys = keys
        self._parts: dict[str, _Part] = {}
        self._topology: Topology | None = None
        self._stale = False

    def replace(self, revision: int, found: Sequence[KeyValue]) -> None:
        """Take all keys as they were read at ``revision``."""
        if revision < self.revision:
            return
        self.revision = revision
        parts = {}
        for pair in found:
            if self._keys.has(pair.key):
                known = self._parts.get(pair.key)
                same = known is not None and known.revision == pair.mod_revision
                parts[pair.key] = known if known and same else _Part(pair.value, pair.mod_revision)
        self._stale = self._stale or parts != self._parts
        self._parts = parts

    def apply(self, changes: Sequence[Change]) -> None:
        """Take the changes of one revision, and all of it."""
        if changes[0].revision <= self.revision:
            return
        self.revision = changes[0].revision
        for change in changes:
            if not self._keys.has(change.key):
                continue
            self._stale = True
            if change.value is None:
                self._parts.pop(change.key, None)
            else:
                self._parts[change.key] = _Part(change.value, change.revision)

    def confirm(self, revision: int, version: KeyValue | None) -> bool:
        """Whether at ``revision`` all is as it is here: the version's key tells, as every change writes it too."""
        known = self._parts.get(self._keys.version)
        if known is None or version is None or known.revision != version.mod_revision:
            return False
        self.revision = max(self.revision, revision)
        return True

    def topology(self) -> Topology | None:
        """The topology; None if there is none. StoreCorrupt or StoreFormat if a key is malformed or missing."""
        if self._stale:
            self._topology = self._assembled()
            self._stale = False
        return self._topology

    def as_is(self, key: str, decoded: object) -> Holds | None:
        """The condition that a key has the value that it has here; None if that is not what ``decoded`` says."""
        part = self._parts.get(key)
        return Holds(key, part.value) if part is not None and self._decoded(key) == decoded else None

    def _assembled(self) -> Topology | None:
        keys = self._keys
        if keys.version not in self._parts:
            if self._parts:
                raise StoreCorrupt(f"etcd key {keys.version} is missing, and {min(self._parts)} is there")
            return None
        shards = [cast(ShardState, self._decoded(key)) for key in self._parts if key.startswith(keys.shards)]
        moves = [cast(Move, self._decoded(key)) for key in self._parts if key.startswith(keys.moves)]
        cluster_id, coordinator = cast("tuple[str, str]", self._decoded(keys.cluster))
        try:
            return Topology(
                cast(int, self._decoded(keys.version)),
                cluster_id,
                cast(Layout, self._decoded(keys.layout)),
                {shard.id: shard for shard in sorted(shards, key=lambda shard: shard.id)},
                tuple(sorted(moves, key=lambda move: move.id)),
                coordinator,
            )
        except ConfigError as error:
            raise StoreCorrupt(f"etcd keys under {keys.root} do not fit each other: {error}") from error

    def _decoded(self, key: str) -> object:
        part = self._parts.get(key)
        if part is None:
            raise StoreCorrupt(f"etcd key {key} is missing")
        if part.decoded is None:
            part.decoded = self._keys.decode(key, part.value)
        return part.decoded
