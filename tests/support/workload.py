"""Seeded runs of writes that see every kind of background work within a few hundred I/O operations."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgpack

from support.history import Change

KEYS = tuple(f"key:{number:02d}".encode() for number in range(24))
ABSENT = (b"a", b"key:", b"key:05x", b"z")


@dataclass(frozen=True, slots=True)
class Step:
    """``write`` one call's ``changes``; ``commit``, ``sync``, ``flush``, ``compact``; ``work`` off ``jobs`` background
    jobs; ``wait`` ``seconds``.
    """

    kind: Literal["write", "commit", "sync", "flush", "compact", "work", "wait"]
    changes: tuple[Change, ...] = ()
    jobs: int = 0
    seconds: float = 0.0


def value_of(number: int, size: int) -> bytes:
    """An encoded value that names the write it came from."""
    return msgpack.packb(f"{number:06d}".ljust(size, "."))


def changes_of(dice: random.Random, number: int, value_bytes: int = 700) -> tuple[Change, ...]:
    """One client call: mostly a put, else a delete or a batch that may write a key twice."""
    kind = dice.random()
    if kind < 0.65:
        return ((dice.choice(KEYS), value_of(number, dice.randint(1, value_bytes))),)
    if kind < 0.8:
        return ((dice.choice(KEYS), None),)
    changes: list[Change] = []
    for _ in range(dice.randint(2, 6)):
        gone = dice.random() < 0.3
        changes.append((dice.choice(KEYS), None if gone else value_of(number, dice.randint(1, value_bytes))))
    return tuple(changes)


def group_commits(seed: int, writes: int) -> Iterator[Step]:
    """Writes committed a few at a time and synced now and then, as loop turns with group commit do it; background work
    comes late.
    """
    dice = random.Random(seed)
    for number in range(writes):
        yield Step("write", changes_of(dice, number))
        if dice.random() < 0.6:
            yield Step("commit")
            if dice.random() < 0.4:
                yield Step("sync")
            if dice.random() < 0.3:
                yield Step("work", jobs=dice.choice((1, 1, 1, 2, 9)))
        yield from _background(dice, writes)
    yield Step("commit")
    yield Step("work", jobs=99)


def single_calls(seed: int, writes: int) -> Iterator[Step]:
    """One write after the other with waits between them, as a user of ``Store`` does."""
    dice = random.Random(seed)
    for number in range(writes):
        yield Step("write", changes_of(dice, number))
        if dice.random() < 0.5:
            yield Step("wait", seconds=dice.choice((0.001, 0.02, 0.05, 0.2)))
        yield from _background(dice, writes)


def _background(dice: random.Random, writes: int) -> Iterator[Step]:
    if dice.random() < 3 / writes:
        yield Step("flush")
    if dice.random() < 2 / writes:
        yield Step("compact")
