"""The consistent-hash ring: even shares, and a change of shards moves no more than it must."""

import random

import pytest

from sherd.common.errors import ConfigError
from sherd.common.topology.layout import FIRST_TOKEN, HASH_TOKEN_BYTES
from sherd.common.topology.ring import VIRTUAL_NODES, ring_layout, virtual_nodes
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import ShardId

pytestmark = pytest.mark.core
CLUSTERS = [f"cluster-{number}" for number in range(48)]


def equal_weights(shards):
    return {ShardId(shard): 1.0 for shard in range(1, shards + 1)}


@pytest.mark.parametrize("shards", range(1, 17))
def test_shares_stay_within_a_quarter_of_the_mean(shards):
    for cluster in CLUSTERS:
        shares = ring_layout(cluster, equal_weights(shards)).token_shares()
        assert len(shares) == shards
        assert sum(shares.values()) == pytest.approx(1)
        assert all(0.75 < share * shards < 1.25 for share in shares.values()), cluster


def test_shares_of_the_token_space_are_shares_of_the_keys():
    layout = ring_layout("keys", equal_weights(4))
    tokens = TokenMap(layout)
    found = [tokens.owner(b"user:%d" % number) for number in range(20_000)]
    for shard, share in layout.token_shares().items():
        assert found.count(shard) / len(found) == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("shards", [1, 2, 4, 8, 15])
def test_a_new_shard_takes_its_share_and_nothing_else_moves(shards):
    before = TokenMap(ring_layout("grow", equal_weights(shards)))
    after = TokenMap(ring_layout("grow", equal_weights(shards + 1)))
    keys = [random.Random(shards).randbytes(12) + b"%d" % number for number in range(8_000)]
    moved = 0
    for key in keys:
        old, new = before.owner(key), after.owner(key)
        if old != new:
            assert new == shards + 1
            moved += 1
    assert 0.7 < moved / len(keys) * (shards + 1) < 1.3


def test_boundaries_only_get_finer_when_a_shard_joins():
    before = {partition.start for partition in ring_layout("grow", equal_weights(3)).partitions}
    after = {partition.start for partition in ring_layout("grow", equal_weights(4)).partitions}
    assert before < after


def test_weight_scales_the_share():
    shares = ring_layout("weights", {ShardId(1): 1.0, ShardId(2): 3.0}).token_shares()
    assert shares[ShardId(2)] == pytest.approx(0.75, abs=0.06)
    assert virtual_nodes("weights", ShardId(2), 3.0)[:VIRTUAL_NODES] == virtual_nodes("weights", ShardId(2))


def test_tokens_below_the_first_virtual_node_belong_to_the_last_one():
    layout = ring_layout("wrap", equal_weights(4))
    first, last = layout.partitions[0], layout.partitions[-1]
    assert first.start == FIRST_TOKEN["hash"]
    assert first.owner == last.owner
    nodes = {token: shard for shard in equal_weights(4) for token in virtual_nodes("wrap", shard)}
    assert last.start == max(nodes).to_bytes(HASH_TOKEN_BYTES, "big")
    assert last.owner == nodes[max(nodes)]


def test_the_same_cluster_always_gets_the_same_ring_and_another_one_another():
    assert ring_layout("a", equal_weights(3)) == ring_layout("a", equal_weights(3))
    assert ring_layout("a", equal_weights(3)) != ring_layout("b", equal_weights(3))


@pytest.mark.parametrize("weights", [{}, {ShardId(1): 0.0}, {ShardId(1): -1.0}])
def test_a_ring_of_nothing_is_refused(weights):
    with pytest.raises(ConfigError):
        ring_layout("none", weights)
