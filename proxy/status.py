"""What ``sherd status`` shows of the cluster, put together from what each shard says of itself."""

from collections.abc import Mapping

from sherd.common.errors import WireError
from sherd.common.topology.layout import Layout
from sherd.common.topology.state import ShardState, Topology
from sherd.proxy.shard_warnings import shard_warnings

_COPIED = ("memtable_bytes", "tables", "levels", "write_amplification", "role_changes")


def cluster_status(
    topology: Topology, answers: Mapping[int, object], errors: Mapping[int, WireError]
) -> dict[str, object]:
    """The status: ``partition layout fsync shards moves warnings``; the proxy adds what it knows of itself.

    A shard that did not answer stands there with what the topology tells, and in ``warnings``.
    """
    told = {shard: answer for shard, answer in answers.items() if isinstance(answer, dict)}
    keys = {shard: _number(answer.get("keys", answer.get("keys_estimate"))) for shard, answer in told.items()}
    shares = _shares(topology.layout, keys)
    warnings = [f"shard {shard} does not answer: {error}" for shard, error in sorted(errors.items())]
    for shard, answer in sorted(told.items()):
        warnings += shard_warnings(shard, answer)
    for shard, state in sorted(topology.shards.items()):
        warnings += [
            f"shard {shard}: follower {name} is not in sync, so it cannot take over; it catches up once it runs"
            for name in state.followers
            if name not in state.in_sync
        ]
    shards = []
    for shard, state in sorted(topology.shards.items()):
        answer = told.get(shard, {})
        leader = {
            "name": state.leader,
            "pid": answer.get("pid"),
            "address": state.leader_address,
            "written_lsn": answer.get("written_lsn"),
            "synced_lsn": answer.get("synced_lsn"),
        }
        shards.append(
            {
                "id": shard,
                "term": state.term,
                "share": shares.get(shard, 0.0),
                "keys": keys.get(shard, 0),
                "bytes": _number(answer.get("bytes")),
                "leader": leader,
                "followers": [_follower(state, name, answer.get("followers")) for name in state.followers],
                **{name: answer.get(name) for name in _COPIED},
            }
        )
    policies = {str(answer["fsync"]) for answer in told.values() if "fsync" in answer}
    return {
        "partition": topology.layout.mode,
        "layout": topology.layout.counter,
        "fsync": ", ".join(sorted(policies)),
        "shards": shards,
        "moves": [move.to_json() for move in topology.moves],
        "warnings": warnings,
    }


def _follower(state: ShardState, name: str, told: object) -> dict[str, object]:
    """What the topology knows of a follower, and its leader."""
    found = told.get(name, {}) if isinstance(told, dict) else {}
    return {
        "name": name,
        "pid": found.get("pid"),
        "address": state.replicas[name],
        "in_sync": name in state.in_sync,
        "lag_records": found.get("lag_records"),
        "lag_bytes": found.get("lag_bytes"),
        "lag_seconds": found.get("lag_seconds"),
        "quarantined": found.get("quarantined"),
    }


def _shares(layout: Layout, keys: Mapping[int, int]) -> Mapping[int, float]:
    """The fraction of the token space in hash mode, of the keys in range mode."""
    if layout.mode == "hash":
        return {int(shard): share for shard, share in layout.token_shares().items()}
    total = sum(keys.values())
    return {shard: count / total if total else 0.0 for shard, count in keys.items()}


def _number(found: object) -> int:
    return found if isinstance(found, int) else 0
