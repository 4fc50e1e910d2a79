"""Fuzzing by mutation: inputs made from good ones, and kept where they bring an answer that was not seen before.

A target is handed an input and returns a short description of its answer, or raises if the answer is not a lawful one.
Inputs that led to a new description join the pool that later ones are made from; so the search is led by what the code
under test says, in compiled builds as well, where its lines cannot be watched.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

POOL_MAX = 2000
INPUT_BYTES_MAX = 4096
TELLING_BYTES = bytes.fromhex(
    "00 01 0f 10 7f 80 8f 90 91 92 93 94 a0 a1 bf c0 c1 c2 c4 c6 c7 c9 ca cc cf d0 d3 d4 d8 d9 db dc dd de df e0 fe ff"
)
TELLING_NUMBERS = tuple(2**power + off for power in (0, 4, 7, 8, 12, 15, 16, 31, 32, 63) for off in (-1, 0, 1))


@dataclass(frozen=True, slots=True)
class Target:
    """``answer(input)`` describes a lawful answer and raises at any other; ``seeds`` are good inputs."""

    name: str
    seeds: tuple[bytes, ...]
    answer: Callable[[bytes], object]


def mutate(data: bytes, pool: list[bytes], dice: random.Random) -> bytes:
    """``data`` with one to eight small changes."""
    changed = bytearray(data)
    for _ in range(1 + int(dice.expovariate(0.7)) % 8):
        _change(changed, pool, dice)
    return bytes(changed[:INPUT_BYTES_MAX])


def _change(changed: bytearray, pool: list[bytes], dice: random.Random) -> None:
    kind = dice.randrange(9)
    at = dice.randrange(len(changed) + 1)
    until = min(len(changed), at + 1 + int(dice.expovariate(0.2)))
    if kind == 0 and at < len(changed):
        changed[at] ^= 1 << dice.randrange(8)
    elif kind == 1 and at < len(changed):
        changed[at] = dice.choice(TELLING_BYTES)
    elif kind == 2:
        changed[at:at] = bytes((dice.choice(TELLING_BYTES),))
    elif kind == 3:
        del changed[at:until]
    elif kind == 4:
        changed[at:at] = changed[at:until] * dice.randint(1, 4)
    elif kind == 5:
        size = dice.choice((1, 2, 4, 8))
        number = dice.choice(TELLING_NUMBERS) % (1 << (8 * size))
        changed[at : at + size] = number.to_bytes(size, dice.choice(("little", "big")))
    elif kind == 6:
        other = dice.choice(pool)
        start = dice.randrange(len(other) + 1)
        changed[at:until] = other[start : start + dice.randint(1, 64)]
    elif kind == 7:
        del changed[at:]
    else:
        changed += dice.randbytes(dice.randint(1, 16))


def kind_of(answer: object) -> str:
    """An answer with its numbers and quotations left out."""
    return re.sub(r"'.*?'|b?\".*?\"|0x[0-9a-f]+|\d+", "#", str(answer))[:200]


def fuzz(target: Target, inputs: int, seed: int) -> int:
    """Try ``inputs`` inputs; the number of kinds of answers. AssertionError with the input at an unlawful answer."""
    dice = random.Random(seed)
    pool = list(target.seeds)
    kinds = {kind_of(target.answer(data)) for data in pool}
    for number in range(inputs):
        data = mutate(dice.choice(pool), pool, dice)
        try:
            kind = kind_of(target.answer(data))
        except Exception as error:
            raise AssertionError(
                f"{target.name}: input {number} of seed {seed} was answered with {error!r}; "
                f"bytes.fromhex({data.hex()!r})"
            ) from error
        if kind not in kinds and len(pool) < POOL_MAX:
            kinds.add(kind)
            pool.append(data)
    return len(kinds)
