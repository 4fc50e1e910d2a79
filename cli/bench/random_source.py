"""Random numbers without objects: xorshift64*.

Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016).

``mix64`` is the finalizer of splitmix64: it spreads close numbers over all 64 bits, and is one to one.
"""

import cython

# As C variables: a literal over 63 bits would make its expression one of Python integers.
_MASK = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)
_STEP = cython.declare(cython.ulonglong, 0x9E3779B97F4A7C15)
_FIRST = cython.declare(cython.ulonglong, 0xBF58476D1CE4E5B9)
_SECOND = cython.declare(cython.ulonglong, 0x94D049BB133111EB)
_STAR = cython.declare(cython.ulonglong, 0x2545F4914F6CDD1D)


@cython.cfunc
def mix64(number: cython.ulonglong) -> cython.ulonglong:
    """Another 64-bit number, a different one for each ``number``."""
    x: cython.ulonglong = (number + _STEP) & _MASK
    x = ((x ^ (x >> 30)) * _FIRST) & _MASK
    x = ((x ^ (x >> 27)) * _SECOND) & _MASK
    return x ^ (x >> 31)


@cython.final
@cython.cclass
class RandomSource:
    """A stream of random numbers that its seed determines."""

    def __init__(self, seed: int) -> None:
        self._state = mix64(seed & 0xFFFFFFFFFFFFFFFF) | 1

    @cython.ccall
    @cython.exceptval(-1)
    def draw(self) -> cython.ulonglong:
        """A number of 64 random bits, never 0."""
        x: cython.ulonglong = self._state
        x ^= x >> 12
        x ^= (x << 25) & _MASK
        x ^= x >> 27
        self._state = x
        number: cython.ulonglong = (x * _STAR) & _MASK
        return number

    @cython.ccall
    @cython.exceptval(-1)
    def below(self, count: cython.ulonglong) -> cython.ulonglong:
        """A number from 0 to ``count`` - 1."""
        return (self.draw() >> 8) % count

    @cython.ccall
    @cython.exceptval(-1)
    def fraction(self) -> cython.double:
        """A number from 0 up to, not including, 1."""
        return cython.cast(cython.double, self.draw() >> 11) * (1.0 / 9007199254740992.0)
