"""Zipf's law over a growing number of items: the i-th most popular one is asked for in proportion to 1 / i**theta.

The method of Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating billion-record synthetic
databases" (SIGMOD 1994), which YCSB uses too: ranks 0 and 1 have their exact probabilities, the others follow a
continuous curve through them. The normalizing sum is exact for the first items and continued by the Euler-Maclaurin
formula, so that a billion items cost no more than ten thousand, and one more item costs next to nothing.
"""

import cython

if cython.compiled:
    from cython.cimports.libc.math import pow
else:
    from math import pow

THETA = 0.99
"""YCSB's skew: of a million keys the first gets 6.5 % of the requests."""

EXACT_ITEMS = 10_000

_EXACT_ITEMS = cython.declare(cython.ulonglong, EXACT_ITEMS)


def zeta(count: int, theta: float) -> float:
    """The sum of 1 / i**theta for i from 1 to ``count``."""
    exact = min(count, EXACT_ITEMS)
    total = sum(pow(i, -theta) for i in range(1, exact + 1))
    return total + _tail(exact, count, theta)


@cython.cfunc
def _tail(exact: cython.ulonglong, count: cython.ulonglong, theta: cython.double) -> cython.double:
    """The part of the sum after the first ``exact`` items."""
    m: cython.double = exact
    n: cython.double = count
    if count <= exact:
        return 0.0
    area: cython.double = (pow(n, 1.0 - theta) - pow(m, 1.0 - theta)) / (1.0 - theta)
    ends: cython.double = (pow(n, -theta) - pow(m, -theta)) / 2.0
    return area + ends + theta / 12.0 * (pow(m, -theta - 1.0) - pow(n, -theta - 1.0))


@cython.final
@cython.cclass
class Zipfian:
    """Ranks 0 to ``count`` - 1. ``theta`` is above 0 and below 1: 0 would be uniform."""

    def __init__(self, count: int, theta: float = THETA) -> None:
        if count < 1 or not 0.0 < theta < 1.0:
            raise ValueError(f"no Zipf distribution over {count} items with theta {theta}")
        self._theta = theta
        self._alpha = 1.0 / (1.0 - theta)
        self._head = zeta(min(count, EXACT_ITEMS), theta)
        self.count = count
        self._prepare()

    @cython.cfunc
    def _prepare(self) -> None:
        exact: cython.ulonglong = min(self.count, _EXACT_ITEMS)
        self._zeta = self._head + _tail(exact, self.count, self._theta)
        self._second = 1.0 + pow(0.5, self._theta)
        self._eta = 0.0
        if self.count > 2:
            self._eta = (1.0 - pow(2.0 / self.count, 1.0 - self._theta)) / (1.0 - self._second / self._zeta)

    @cython.ccall
    def grow(self, count: cython.ulonglong) -> None:
        """There are ``count`` items now, not fewer than before."""
        while self.count < count and self.count < _EXACT_ITEMS:
            self.count += 1
            self._head += pow(self.count, -self._theta)
        self.count = count
        self._prepare()

    @cython.ccall
    @cython.exceptval(-1)
    def rank(self, fraction: cython.double) -> cython.ulonglong:
        """The rank that a random number from 0 to 1 stands for."""
        share: cython.double = fraction * self._zeta
        rank: cython.ulonglong
        if share < 1.0 or self.count == 1:
            return 0
        if share < self._second or self.count == 2:
            return 1
        rank = cython.cast(cython.ulonglong, self.count * pow(self._eta * fraction - self._eta + 1.0, self._alpha))
        return rank if rank < self.count else self.count - 1
