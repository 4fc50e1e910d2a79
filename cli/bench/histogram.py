"""Latencies in buckets whose width grows with their value: every quantile within 1.6 %, constant memory.

Values are microseconds. Bucket b covers values with the same top six bits after the leading one (Tene's HdrHistogram
keeps the same kind of buckets).
"""

import array

SUB_BITS = 6
SUB_BUCKETS = 1 << SUB_BITS


class Histogram:
    """Counts of latencies up to about an hour."""

    def __init__(self) -> None:
        self._counts = array.array("Q", bytes(8 * SUB_BUCKETS * 34))
        self.count = 0
        self.max_us = 0

    def add(self, latency_us: int, times: int = 1) -> None:
        """Count ``times`` latencies of ``latency_us``."""
        self._counts[_bucket(latency_us)] += times
        self.count += times
        self.max_us = max(self.max_us, latency_us)

    def quantile(self, q: float) -> int:
        """The latency in microseconds that a fraction ``q`` of those counted do not exceed; 0 if none was."""
        wanted = q * self.count
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_upper(bucket), self.max_us)
        return 0


def _bucket(value: int) -> int:
    shift = max(0, value.bit_length() - SUB_BITS - 1)
    return min(shift * SUB_BUCKETS + (value >> shift), SUB_BUCKETS * 34 - 1)


def _upper(bucket: int) -> int:
    shift = max(0, bucket // SUB_BUCKETS - 1)
    return ((bucket - shift * SUB_BUCKETS + 1) << shift) - 1
