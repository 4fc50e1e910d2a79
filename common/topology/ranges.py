"""Range mode's first boundaries: those an operator names, or an even cut of printable ASCII.

Neighbouring partitions go to one shard, so that a range read meets few shards.
"""

from collections.abc import Sequence
from itertools import pairwise

from sherd.common.errors import ConfigError
from sherd.common.limits import KEY_BYTES_MAX
from sherd.common.topology.layout import FIRST_COUNTER, FIRST_TOKEN, Layout, Partition, Token
from sherd.common.types import LayoutCounter, ShardId

PRINTABLE_FIRST = 0x20
PRINTABLE_COUNT = 0x7F - PRINTABLE_FIRST
EVEN_PARTITIONS_MAX = PRINTABLE_COUNT * PRINTABLE_COUNT


def even_boundaries(partitions: int) -> list[bytes]:
    """``partitions - 1`` keys of two bytes that cut the printable-ASCII space of the first two bytes evenly."""
    if not 1 <= partitions <= EVEN_PARTITIONS_MAX:
        raise ConfigError(f"an even cut makes 1 to {EVEN_PARTITIONS_MAX} ranges, not {partitions}")
    cuts = [index * EVEN_PARTITIONS_MAX // partitions for index in range(1, partitions)]
    return [bytes((PRINTABLE_FIRST + cut // PRINTABLE_COUNT, PRINTABLE_FIRST + cut % PRINTABLE_COUNT)) for cut in cuts]


def range_layout(shards: int, split_at: Sequence[bytes] = (), counter: LayoutCounter = FIRST_COUNTER) -> Layout:
    """The layout of a range-mode cluster made afresh: shards 1 to ``shards`` along the boundaries ``split_at``.

    K boundaries make K + 1 ranges, dealt out in runs; fewer ranges than shards is a ConfigError.
    """
    if shards < 1:
        raise ConfigError(f"a cluster needs at least one shard, not {shards}")
    boundaries = list(split_at) if split_at else even_boundaries(shards)
    ranges = len(boundaries) + 1
    if ranges < shards:
        raise ConfigError(f"{len(boundaries)} split keys make {ranges} ranges, fewer than the {shards} shards")
    for key in boundaries:
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            raise ConfigError(f"a split key must have 1 to {KEY_BYTES_MAX} bytes, not {len(key)}")
    for left, right in pairwise(boundaries):
        if left >= right:
            raise ConfigError(f"split keys must ascend: {right!r} comes after {left!r}")
    starts = [FIRST_TOKEN["range"], *(Token(key) for key in boundaries)]
    partitions = tuple(
        Partition(index + 1, start, ShardId(index * shards // ranges + 1)) for index, start in enumerate(starts)
    )
    return Layout(counter, "range", partitions)
