"""How long values are: one size, evenly between two sizes, or log-normal around a median."""

import math

import cython

from sherd.common.errors import ConfigError
from sherd.common.limits import VALUE_BYTES_CEILING

if cython.compiled:
    from cython.cimports.libc.math import cos, exp, log, sqrt
    from cython.cimports.sherd.cli.bench.random_source import RandomSource
else:
    from math import cos, exp, log, sqrt

    from sherd.cli.bench.random_source import RandomSource

VALUE_BYTES_MAX = VALUE_BYTES_CEILING - 5  # MessagePack's header counts towards the limit
LOGNORMAL_SIGMAS = 5.0
"""Log-normal sizes end this many deviations from the median: 1 value in 3.5 million would lie beyond."""

_TURN = cython.declare(cython.double, 2.0 * math.pi)


@cython.final
@cython.cclass
class ValueSizes:
    """Sizes from ``low`` to ``high`` bytes; ``sigma`` 0 is uniform, else log-normal around ``median``."""

    def __init__(self, low: int, high: int, median: float = 0.0, sigma: float = 0.0) -> None:
        if not 0 <= low <= high <= VALUE_BYTES_MAX:
            raise ConfigError(f"values of {low} to {high} bytes: sizes must be from 0 to {VALUE_BYTES_MAX}")
        self.low = low
        self.high = high
        self._median = median
        self._sigma = sigma

    @cython.ccall
    @cython.exceptval(-1)
    def draw(self, random: RandomSource) -> cython.Py_ssize_t:
        """The size of one value."""
        size: cython.Py_ssize_t
        if self.low == self.high:
            return self.low
        if self._sigma == 0.0:
            return self.low + cython.cast(cython.Py_ssize_t, random.below(self.high - self.low + 1))
        # Box and Muller: two uniform numbers make a normal one.
        radius: cython.double = sqrt(-2.0 * log(1.0 - random.fraction()))
        size = cython.cast(cython.Py_ssize_t, self._median * exp(self._sigma * radius * cos(_TURN * random.fraction())))
        return min(max(size, self.low), self.high)


def parse_value_sizes(text: str) -> ValueSizes:
    """The sizes that ``N``, ``uniform:A-B`` or ``lognormal:MEDIAN:SIGMA`` mean; ConfigError if none."""
    kind, _, rest = text.partition(":")
    try:
        if kind == "uniform":
            low, high = (int(part) for part in rest.split("-"))
            return ValueSizes(low, high)
        if kind == "lognormal":
            median, sigma = (float(part) for part in rest.split(":"))
            if not median >= 1.0 or not 0.0 < sigma <= 4.0:
                raise ConfigError(f"{text!r}: the median must be at least 1 byte, sigma above 0 and at most 4")
            spread = math.exp(sigma * LOGNORMAL_SIGMAS)
            return ValueSizes(int(median / spread), min(int(median * spread) + 1, VALUE_BYTES_MAX), median, sigma)
        return ValueSizes(int(text), int(text))
    except ValueError:
        raise ConfigError(f"{text!r} is no size; write N, uniform:A-B or lognormal:MEDIAN:SIGMA, in bytes") from None
