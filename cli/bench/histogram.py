"""Latencies in buckets whose width grows with their value, in constant memory.

A value of nanoseconds falls into a bucket by its highest bit and the seven after it, so that every quantile is right
within 0.8 % (Tene's HdrHistogram has the same kind of buckets). Histograms of several runs can be added up.
"""

from array import array
from collections.abc import Iterator

import cython

SUB_BITS = 7
SUB_BUCKETS = 1 << SUB_BITS
VALUE_BITS_MAX = 44
"""Values are counted up to 2**44 ns, about five hours; longer ones as that."""

BUCKETS = SUB_BUCKETS * (VALUE_BITS_MAX - SUB_BITS + 1)

_SUB_BITS = cython.declare(cython.int, SUB_BITS)
_SUB_BUCKETS = cython.declare(cython.ulonglong, SUB_BUCKETS)
_VALUE_MAX = cython.declare(cython.ulonglong, (1 << VALUE_BITS_MAX) - 1)


@cython.final
@cython.cclass
class Histogram:
    """Counts of latencies; ``max_ns`` is exact."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * BUCKETS))
        self.count = 0
        self.max_ns = 0

    @cython.ccall
    def record(self, latency_ns: cython.ulonglong) -> None:
        """Count one latency."""
        shift: cython.int = 0
        value: cython.ulonglong = latency_ns
        if value > self.max_ns:
            self.max_ns = value
        if value > _VALUE_MAX:
            value = _VALUE_MAX
        while (value >> shift) >= 2 * _SUB_BUCKETS:
            shift += 1
        bucket: cython.ulonglong = shift * _SUB_BUCKETS + (value >> shift)
        self._counts[bucket] += 1
        self.count += 1

    def add(self, other: "Histogram") -> None:
        """Count all that ``other`` counted."""
        for i in range(BUCKETS):
            self._counts[i] += other._counts[i]
        self.count += other.count
        self.max_ns = max(self.max_ns, other.max_ns)

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """Lowest value, highest value and count of every bucket that has any, in order."""
        for i in range(BUCKETS):
            if self._counts[i]:
                low, high = bucket_bounds(i)
                yield low, min(high, self.max_ns), self._counts[i]

    def quantile(self, q: float) -> int:
        """The nanoseconds that a fraction ``q`` of the latencies do not exceed; 0 if there are none."""
        wanted = q * self.count
        seen = 0
        for _, high, count in self.buckets():
            seen += count
            if seen >= wanted:
                return high
        return self.max_ns


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The lowest and the highest value that fall into a bucket."""
    shift = max(0, bucket // SUB_BUCKETS - 1)
    low = (bucket - shift * SUB_BUCKETS) << shift
    return low, low + (1 << shift) - 1
