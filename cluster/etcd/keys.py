"""The cluster's keys in etcd, and what is in them: without I/O.

| key | value, in JSON |
|---|---|
| ``PREFIX/version`` | the topology's version: every change of the topology raises it, in the same transaction |
| ``PREFIX/cluster`` | ``{"format": 1, "id": CLUSTER_ID, "coordinator": ADDRESS}`` |
| ``PREFIX/layout`` | ``Layout.to_json`` |
| ``PREFIX/shards/ID`` | ``ShardState.to_json`` |
| ``PREFIX/moves/ID`` | ``Move.to_json`` |
| ``PREFIX/leases/SHARD_ID`` | not the topology's: who leads a shard, on the leader's lease |
| ``PREFIX/coordinator`` | not the topology's: who coordinates, on the coordinator's lease |

A key that is not named here is none of ours and left alone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sherd.cluster.etcd.api import Absent, Delete, Holds, Put
from sherd.common.errors import SherdError, StoreCorrupt, StoreFormat
from sherd.common.topology.layout import Layout
from sherd.common.topology.state import Move, ShardState, Topology
from sherd.common.types import ShardId

FORMAT = 1


class Keys:
    """The names of one cluster's keys. Those of the topology begin with ``root``."""

    def __init__(self, prefix: str) -> None:
        self.root = f"{prefix}/"
        self.version = f"{prefix}/version"
        self.cluster = f"{prefix}/cluster"
        self.layout = f"{prefix}/layout"
        self.shards = f"{prefix}/shards/"
        self.moves = f"{prefix}/moves/"
        self.lease_prefix = f"{prefix}/leases/"
        self.coordinator = f"{prefix}/coordinator"

    def shard(self, id_: ShardId) -> str:
        return f"{self.shards}{id_}"

    def move(self, id_: int) -> str:
        return f"{self.moves}{id_}"

    def lease(self, shard: ShardId) -> str:
        return f"{self.lease_prefix}{shard}"

    def unchanged(self, version: int) -> Absent | Holds:
        """The condition that the topology is still of this version; 0 if there is to be none."""
        return Holds(self.version, _encode(version)) if version else Absent(self.version)

    def changes(self, before: Topology | None, after: Topology) -> list[Put | Delete]:
        """What turns one topology into the next: the parts that differ, and the version."""
        changes: list[Put | Delete] = [Put(self.version, _encode(after.version))]
        if before is None or _cluster_part(before) != _cluster_part(after):
            changes.append(Put(self.cluster, _encode(_cluster_part(after))))
        if before is None or before.layout != after.layout:
            changes.append(Put(self.layout, _encode(after.layout.to_json())))
        old, new = self._numbered(before), self._numbered(after)
        changes += [Put(key, _encode(part.to_json())) for key, part in new.items() if old.get(key) != part]
        changes += [Delete(key) for key in old if key not in new]
        return changes

    def _numbered(self, topology: Topology | None) -> dict[str, ShardState | Move]:
        if topology is None:
            return {}
        parts: dict[str, ShardState | Move] = {self.shard(id_): state for id_, state in topology.shards.items()}
        parts.update((self.move(move.id), move) for move in topology.moves)
        return parts

    def decode(self, key: str, value: bytes) -> object:
        """The part of the topology under one of its keys: int, (id, coordinator), Layout, ShardState or Move.

        StoreCorrupt, which names the key, if it is malformed; StoreFormat for another version's.
        """
        try:
            return self._decoder(key)(json.loads(value))
        except StoreFormat as error:
            raise StoreFormat(f"etcd key {key}: {error}") from error
        except (SherdError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise StoreCorrupt(f"etcd key {key}: {error if isinstance(error, SherdError) else repr(error)}") from error

    def has(self, key: str) -> bool:
        """Whether a key is one of the topology's."""
        return key in (self.version, self.cluster, self.layout) or key.startswith((self.shards, self.moves))

    def _decoder(self, key: str) -> Callable[[Any], object]:
        if key == self.version:
            return _version
        if key == self.cluster:
            return _cluster
        if key == self.layout:
            return Layout.from_json
        if key.startswith(self.shards):
            shard = ShardId(_number(key.removeprefix(self.shards)))
            return lambda data: ShardState.from_json(shard, data)
        move = _number(key.removeprefix(self.moves))
        return lambda data: _move(move, data)


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _version(data: object) -> int:
    if type(data) is not int or data < 1:
        raise ValueError(f"{data!r} is no version")
    return data


def _cluster_part(topology: Topology) -> dict[str, object]:
    return {"format": FORMAT, "id": topology.cluster_id, "coordinator": topology.coordinator}


def _cluster(data: Mapping[str, object]) -> tuple[str, str]:
    """The cluster's id, and where its coordinator is."""
    if data["format"] != FORMAT:
        raise StoreFormat(f"format {data['format']!r}, but this version of sherd reads format {FORMAT}")
    id_, coordinator = data["id"], data["coordinator"]
    if not isinstance(id_, str) or not isinstance(coordinator, str):
        raise TypeError("id and coordinator must be text")
    return id_, coordinator


def _move(id_: int, data: Mapping[str, object]) -> Move:
    move = Move.from_json(data)
    if move.id != id_:
        raise ValueError(f"holds move {move.id}")
    return move


def _number(text: str) -> int:
    """A number as we write it, so that no two keys mean the same one."""
    number = int(text)
    if str(number) != text:
        raise ValueError(f"{text!r} is no number")
    return number
