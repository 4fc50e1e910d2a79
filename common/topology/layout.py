"""The layout: which shard owns which tokens.

A token is ``xxh3_64(key)`` as 8 big-endian bytes in hash mode and the key itself in range mode, so both modes are one
thing: sorted boundaries over a token space. A partition reaches from its start token (included) to the start of the
next partition (excluded); the last one reaches to the end of the space.

Invariants, checked on construction: starts strictly ascend and the first is the lowest token there is, so that every
token has exactly one owner; partition ids are unique. ``counter`` changes only when ownership or boundaries do.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NewType, cast

import xxhash

from sherd.common.errors import ConfigError
from sherd.common.limits import KEY_BYTES_MAX
from sherd.common.types import Epoch, LayoutCounter, ShardId

Mode = Literal["hash", "range"]
Token = NewType("Token", bytes)

MODES: tuple[Mode, ...] = ("hash", "range")
HASH_TOKEN_BYTES = 8
HASH_TOKEN_SPACE = 1 << (8 * HASH_TOKEN_BYTES)
FIRST_EPOCH = Epoch(1)
FIRST_COUNTER = LayoutCounter(1)
FIRST_TOKEN: dict[Mode, Token] = {"hash": Token(bytes(HASH_TOKEN_BYTES)), "range": Token(b"")}


def token_of(mode: Mode, key: bytes) -> Token:
    """The token of a key. ``TokenMap`` does the same without the call."""
    return Token(xxhash.xxh3_64_digest(key)) if mode == "hash" else Token(key)


@dataclass(frozen=True, slots=True)
class Partition:
    """An interval of the token space and who owns it. ``epoch`` counts its owners."""

    id: int
    start: Token
    owner: ShardId
    epoch: Epoch = FIRST_EPOCH

    def __post_init__(self) -> None:
        if self.id < 1 or self.owner < 1 or self.epoch < 1:
            raise ConfigError(f"partition {self.id}: id, owner {self.owner} and epoch {self.epoch} must be 1 or more")


@dataclass(frozen=True, slots=True)
class Layout:
    """All partitions in token order, under one counter."""

    counter: LayoutCounter
    mode: Mode
    partitions: tuple[Partition, ...]

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"layout mode must be hash or range, not {self.mode!r}")
        if not self.partitions or self.partitions[0].start != FIRST_TOKEN[self.mode]:
            raise ConfigError("a layout must begin with a partition at the lowest token")
        if self.counter < 1:
            raise ConfigError(f"layout counter must be 1 or more, not {self.counter}")
        ids = {partition.id for partition in self.partitions}
        if len(ids) != len(self.partitions):
            raise ConfigError("a layout names a partition twice")
        previous: Token | None = None
        for partition in self.partitions:
            self._check_start(partition, previous)
            previous = partition.start

    def _check_start(self, partition: Partition, previous: Token | None) -> None:
        size = len(partition.start)
        if size != HASH_TOKEN_BYTES if self.mode == "hash" else size > KEY_BYTES_MAX:
            raise ConfigError(f"partition {partition.id} starts at a token of {size} bytes")
        if previous is not None and partition.start <= previous:
            raise ConfigError(f"partition {partition.id} does not start after the one before it")

    @property
    def owners(self) -> tuple[ShardId, ...]:
        """Every shard that owns something, ascending."""
        return tuple(sorted({partition.owner for partition in self.partitions}))

    def find(self, key: bytes) -> Partition:
        """The partition that holds a key; O(log partitions), for tools. Hot paths use ``TokenMap``."""
        token = token_of(self.mode, key)
        return self.partitions[bisect_right(self.partitions, token, key=_start_of) - 1]

    def token_shares(self) -> dict[ShardId, float]:
        """The fraction of the token space that each shard owns; hash mode only, where it tells the share of keys."""
        if self.mode != "hash":
            raise ConfigError("shares of the token space mean nothing in range mode")
        shares = dict.fromkeys(self.owners, 0)
        starts = [int.from_bytes(partition.start, "big") for partition in self.partitions]
        for partition, start, end in zip(self.partitions, starts, [*starts[1:], HASH_TOKEN_SPACE], strict=True):
            shares[partition.owner] += end - start
        return {owner: width / HASH_TOKEN_SPACE for owner, width in shares.items()}

    def to_json(self) -> dict[str, object]:
        """A JSON-able dict; a partition is ``[id, start token in hex, owner, epoch]``."""
        rows = [
            [partition.id, partition.start.hex(), partition.owner, partition.epoch] for partition in self.partitions
        ]
        return {"counter": self.counter, "mode": self.mode, "partitions": rows}

    @classmethod
    def from_json(cls, data: object) -> "Layout":
        """The layout of ``to_json``; ConfigError if it is malformed."""
        try:
            fields = cast("dict[str, object]", data)
            rows = cast("Iterable[tuple[int, str, int, int]]", fields["partitions"])
            partitions = tuple(
                Partition(int(id_), Token(bytes.fromhex(start)), ShardId(int(owner)), Epoch(int(epoch)))
                for id_, start, owner, epoch in rows
            )
            counter = LayoutCounter(int(cast("int", fields["counter"])))
            return cls(counter, cast("Mode", fields["mode"]), partitions)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"malformed layout: {error!r}") from error


def _start_of(partition: Partition) -> Token:
    return partition.start
