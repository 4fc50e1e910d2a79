"""The shape of a cluster: how many shards, and how keys are spread over them.

A directory gets its shape when it is made and remembers it in its topology. Asking for another one later is an error
that names the command for it: starting with other boundaries would make keys unfindable.
"""

from dataclasses import replace
from random import Random

from sherd.cluster.config import FOLLOWERS_DEFAULT, SHARDS_DEFAULT, ClusterConfig
from sherd.common.errors import ConfigError
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.ring import ring_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId


def new_cluster_id(random: Random) -> str:
    """A name that no other cluster has; the ring's points depend on it."""
    return random.randbytes(8).hex()


def new_topology(config: ClusterConfig, cluster_id: str) -> Topology:
    """Version 1 of a new cluster's topology; ConfigError for split keys that do not fit the shards."""
    shards = SHARDS_DEFAULT if config.shards is None else config.shards
    ids = [ShardId(number) for number in range(1, shards + 1)]
    if config.partition == "range" or (config.partition is None and config.split_at):
        layout = range_layout(shards, _split_keys(config))
    else:
        layout = ring_layout(cluster_id, dict.fromkeys(ids, 1.0))
    replicas = dict.fromkeys(replica_names(FOLLOWERS_DEFAULT if config.followers is None else config.followers), "")
    check_min_insync(config.min_insync, len(replicas) - 1)
    return Topology(1, cluster_id, layout, {id_: ShardState(id_, replicas=replicas) for id_ in ids})


def replica_names(followers: int) -> list[str]:
    """The names of a shard's replicas."""
    return [str(number) for number in range(1, followers + 2)]


def resized(state: ShardState, followers: int) -> ShardState:
    """The state with so many followers; the replica that leads stays, whatever its name."""
    names = replica_names(followers)
    if state.leader not in names:
        names = [state.leader, *names[:followers]]
    replicas = {name: state.replicas.get(name, "") for name in sorted(names)}
    return replace(state, replicas=replicas, in_sync=tuple(name for name in state.in_sync if name in replicas))


def check_shape(config: ClusterConfig, topology: Topology) -> None:
    """ConfigError if the config asks for another shape than the existing cluster has."""
    shards, mode = len(topology.shards), topology.layout.mode
    if config.shards is not None and config.shards != shards:
        verb, word = ("add", "more") if config.shards > shards else ("remove", "fewer")
        raise ConfigError(
            f"{config.data} holds a cluster of {shards} shards, not {config.shards}: start it with --shards {shards} "
            f"(or without --shards); `sherd shards {verb}` is the command for {word}"
        )
    check_min_insync(config.min_insync, _followers(config, topology))
    if config.partition is not None and config.partition != mode:
        raise ConfigError(
            f"{config.data} holds a cluster partitioned by {mode}, not {config.partition}: start it with "
            f"--partition {mode}, or `sherd export` it and `sherd import` into a new directory"
        )
    starts = [partition.start for partition in topology.layout.partitions[1:]]
    if config.split_at and (mode != "range" or _split_keys(config) != starts):
        raise ConfigError(
            f"{config.data} holds a cluster with other boundaries: start it without --split-at; "
            "`sherd split` is the command for new ones"
        )


def check_min_insync(min_insync: int, followers: int) -> None:
    """ConfigError if no shard could ever have so many replicas in sync."""
    if min_insync > followers + 1:
        raise ConfigError(
            f"min_insync {min_insync} needs {min_insync - 1} followers of each shard, and there are {followers}: every "
            "write with acks insync would be refused"
        )


def _followers(config: ClusterConfig, topology: Topology) -> int:
    """How many each shard will have."""
    if config.followers is not None:
        return config.followers
    return min(len(state.replicas) for state in topology.shards.values()) - 1


def _split_keys(config: ClusterConfig) -> list[bytes]:
    return [key.encode("utf-8", "surrogateescape") for key in config.split_at]
