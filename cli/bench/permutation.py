"""A shuffled order of 0 to count - 1 in no memory: each number comes once, seemingly at random.

A Feistel network of four rounds is one to one on numbers of an even count of bits; what falls outside 0 to count - 1 is
put in again until it falls inside (Black and Rogaway, "Ciphers with arbitrary finite domains").
"""

import cython

if cython.compiled:
    from cython.cimports.sherd.cli.bench.random_source import mix64
else:
    from sherd.cli.bench.random_source import mix64


@cython.final
@cython.cclass
class Permutation:
    """The order that ``seed`` gives."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half_bits) - 1
        self._seed = mix64(seed & 0xFFFFFFFFFFFFFFFF)

    @cython.ccall
    @cython.exceptval(-1)
    def at(self, place: cython.ulonglong) -> cython.ulonglong:
        """The number at ``place``, which is below the count."""
        left: cython.ulonglong
        right: cython.ulonglong
        mixed: cython.ulonglong
        turn: cython.int
        number: cython.ulonglong = place
        while True:
            left = number >> self._half_bits
            right = number & self._mask
            for turn in range(4):
                mixed = left ^ (mix64(right ^ (self._seed >> (8 * turn))) & self._mask)
                left = right
                right = mixed
            number = (left << self._half_bits) | right
            if number < self._count:
                return number
