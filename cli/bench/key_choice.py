"""Which keys are asked for. Keys are numbers; on the wire they are 16 decimal digits, in order as their numbers.

Distributions over the ``count`` keys that were loaded: uniform; zipfian, a few popular keys scattered over the whole
space (YCSB's scrambled zipfian); latest, zipfian from the newest key backwards, where inserts make new ones.
"""

import cython

if cython.compiled:
    from cython.cimports.sherd.cli.bench.random_source import RandomSource, mix64
    from cython.cimports.sherd.cli.bench.zipfian import Zipfian
else:
    from sherd.cli.bench.random_source import RandomSource, mix64
    from sherd.cli.bench.zipfian import Zipfian

UNIFORM, ZIPFIAN, LATEST = "uniform", "zipfian", "latest"
DISTRIBUTIONS = (UNIFORM, ZIPFIAN, LATEST)

WINDOW = 1 << 20

_WINDOW = cython.declare(cython.ulonglong, WINDOW)


@cython.final
@cython.cclass
class Inserts:
    """Numbers of keys that are made while running: ``next`` is the next new one, all below ``present`` were answered.

    Answers come in any order; those ahead of ``present`` are marked in a ring.
    """

    def __init__(self, first: int) -> None:
        self.next = self.present = first
        self._answered = bytearray(WINDOW)

    @cython.ccall
    @cython.exceptval(-1)
    def can_take(self) -> cython.int:
        """Whether the ring has room for one more; else the oldest insert has to be answered first."""
        return cython.cast(cython.int, self.next - self.present < _WINDOW)

    @cython.ccall
    @cython.exceptval(-1)
    def take(self) -> cython.ulonglong:
        """The next new key."""
        self.next += 1
        return self.next - 1

    @cython.ccall
    def answer(self, number: cython.ulonglong) -> None:
        """The insert of ``number`` was answered."""
        self._answered[number % _WINDOW] = 1
        while self._answered[self.present % _WINDOW]:
            self._answered[self.present % _WINDOW] = 0
            self.present += 1


@cython.final
@cython.cclass
class KeyChoice:
    """Draws keys of one distribution."""

    def __init__(self, distribution: str, count: int, random: RandomSource, inserts: Inserts) -> None:
        self._count = count
        self._random = random
        self._inserts = inserts
        self._zipfian = None
        self._latest = distribution == LATEST
        if distribution != UNIFORM:
            self._zipfian = Zipfian(count)

    @cython.ccall
    @cython.exceptval(-1)
    def pick(self) -> cython.ulonglong:
        """The number of a key."""
        if self._zipfian is None:
            return self._random.below(self._count)
        if not self._latest:
            return mix64(self._zipfian.rank(self._random.fraction())) % self._count
        if self._zipfian.count != self._inserts.present:
            self._zipfian.grow(self._inserts.present)
        return self._inserts.present - 1 - self._zipfian.rank(self._random.fraction())
