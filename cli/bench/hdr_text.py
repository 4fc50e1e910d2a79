"""A histogram as the percentile distribution that HdrHistogram's tools print and its plotter reads; milliseconds.

One line per step of the percentile: value, percentile as a fraction, how many values are not above, and how rare it is
to be above. The steps halve with the distance to 100 %, five of them to each half.
"""

import math

from sherd.cli.bench.histogram import SUB_BUCKETS, VALUE_BITS_MAX, Histogram

STEPS_PER_HALF = 5
NS_PER_MS = 1_000_000


def hdr_text(histogram: Histogram) -> str:
    """The text, with the three lines of totals at its end."""
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    buckets = list(histogram.buckets())
    percentile = 0.0
    seen = 0
    for _, high, count in buckets:
        seen += count
        while percentile * histogram.count <= 100 * seen and seen < histogram.count:
            lines.append(_line(high, percentile, seen) + f" {1 / (1 - percentile / 100):14.2f}")
            percentile = _next_step(percentile)
    lines.append(_line(histogram.max_ns, 100.0, histogram.count))
    mean, deviation = _moments(buckets, histogram.count)
    octaves = VALUE_BITS_MAX - SUB_BUCKETS.bit_length() + 2
    lines += [
        f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]",
        f"#[Max     = {histogram.max_ns / NS_PER_MS:12.3f}, Total count    = {histogram.count:12}]",
        f"#[Buckets = {octaves:12}, SubBuckets     = {SUB_BUCKETS:12}]",
    ]
    return "\n".join(lines) + "\n"


def _line(value_ns: int, percentile: float, seen: int) -> str:
    return f"{value_ns / NS_PER_MS:12.3f} {percentile / 100:2.12f} {seen:10d}"


def _next_step(percentile: float) -> float:
    halves = math.floor(math.log2(100 / (100 - percentile))) + 1
    return percentile + math.ldexp(100 / STEPS_PER_HALF, -halves)


def _moments(buckets: list[tuple[int, int, int]], count: int) -> tuple[float, float]:
    """Mean and standard deviation in milliseconds, each bucket taken at its middle."""
    if not count:
        return 0.0, 0.0
    mean = sum((low + high) / 2 * times for low, high, times in buckets) / count
    variance = sum(((low + high) / 2 - mean) ** 2 * times for low, high, times in buckets) / count
    return mean / NS_PER_MS, math.sqrt(variance) / NS_PER_MS
