"""The consistent-hash ring: hash mode's boundaries.

Every shard puts 256 virtual nodes per unit of weight on the circle of 64-bit tokens, each at a point that depends only
on the cluster id, the shard and the node's number. A token belongs to the nearest virtual node at or below it, and
those below the first node to the last one, as the circle closes there. So a shard that joins takes slices of about
1/N in all from the others and moves nothing between them, and one that leaves gives its slices back
(Karger et al., "Consistent Hashing and Random Trees", STOC 1997).

With 256 virtual nodes a share's relative deviation is about 1/16, so that four standard deviations stay under 25 %.
"""

from collections.abc import Mapping

import xxhash

from sherd.common.errors import ConfigError
from sherd.common.topology.layout import FIRST_COUNTER, FIRST_TOKEN, HASH_TOKEN_BYTES, Layout, Partition, Token
from sherd.common.types import LayoutCounter, ShardId

VIRTUAL_NODES = 256


def virtual_nodes(cluster_id: str, shard: ShardId, weight: float = 1.0) -> list[int]:
    """The tokens, as integers, at which a shard stands. A greater weight adds nodes and keeps the ones there are."""
    if weight <= 0:
        raise ConfigError(f"shard {shard}: weight must be above 0, not {weight}")
    count = max(1, round(VIRTUAL_NODES * weight))
    return [xxhash.xxh3_64_intdigest(f"{cluster_id}/{shard}/{node}".encode()) for node in range(count)]


def ring_layout(cluster_id: str, weights: Mapping[ShardId, float], counter: LayoutCounter = FIRST_COUNTER) -> Layout:
    """The layout of a hash-mode cluster made afresh from its shards and their weights."""
    if not weights:
        raise ConfigError("a ring needs at least one shard")
    owners: dict[int, ShardId] = {}
    for shard in sorted(weights):
        for token in virtual_nodes(cluster_id, shard, weights[shard]):
            owners.setdefault(token, shard)
    tokens = sorted(owners)
    starts = [Token(token.to_bytes(HASH_TOKEN_BYTES, "big")) for token in tokens]
    bounds = [(start, owners[token]) for start, token in zip(starts, tokens, strict=True)]
    if starts[0] != FIRST_TOKEN["hash"]:
        bounds.insert(0, (FIRST_TOKEN["hash"], owners[tokens[-1]]))
    partitions = tuple(Partition(id_, start, owner) for id_, (start, owner) in enumerate(bounds, start=1))
    return Layout(counter, "hash", partitions)
