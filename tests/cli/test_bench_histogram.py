"""The latency histogram against sorted numbers, and its text form."""

import random
import re

import pytest

from sherd.cli.bench.hdr_text import hdr_text
from sherd.cli.bench.histogram import BUCKETS, Histogram, bucket_bounds
from sherd.cli.bench.schedule import Schedule

pytestmark = pytest.mark.core

LINE = re.compile(r" *(\d+\.\d{3}) (\d\.\d{12}) +(\d+)(?: +(\d+\.\d\d))?")


def latencies(count, seed=1):
    rng = random.Random(seed)
    return [int(rng.lognormvariate(15, 1.5)) for _ in range(count)]


def counted(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def test_buckets_leave_no_gap_and_are_narrow():
    before = -1
    for bucket in range(BUCKETS):
        low, high = bucket_bounds(bucket)
        assert low == before + 1
        assert (high - low) <= low / 128
        before = high


def test_quantiles_of_random_latencies():
    values = sorted(latencies(20_000))
    histogram = counted(values)
    for q in (0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999):
        exact = values[max(0, int(q * len(values)) - 1)]
        assert exact <= histogram.quantile(q) * 1.001
        assert histogram.quantile(q) == pytest.approx(exact, rel=0.012)
    assert histogram.quantile(1.0) == histogram.max_ns == values[-1]
    assert histogram.count == len(values)


def test_extremes():
    assert Histogram().quantile(0.5) == 0
    histogram = counted([0, 1, 2**63])
    assert (histogram.quantile(0.3), histogram.quantile(0.6), histogram.max_ns) == (0, 1, 2**63)


def test_adding_up():
    first, second = latencies(500, 1), latencies(500, 2)
    total = counted(first)
    total.add(counted(second))
    both = counted(first + second)
    assert list(total.buckets()) == list(both.buckets())
    assert (total.count, total.max_ns) == (both.count, both.max_ns)


def test_the_text_form():
    values = sorted(latencies(10_000))
    lines = hdr_text(counted(values)).splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert lines[1] == ""
    rows = [LINE.fullmatch(line) for line in lines[2:-3]]
    assert all(rows)
    numbers = [(float(row[1]), float(row[2]), int(row[3])) for row in rows]
    assert numbers == sorted(numbers)
    assert numbers[0][1] == 0.0
    assert numbers[-1] == (pytest.approx(values[-1] / 1e6, abs=0.001), 1.0, 10_000)
    for value, percentile, seen in numbers[:-1]:
        assert seen >= percentile * 10_000
        assert sum(other / 1e6 <= value + 0.0005 for other in values) == pytest.approx(seen, abs=60)
    assert all(float(row[4]) == pytest.approx(1 / (1 - float(row[2])), abs=0.01) for row in rows[:-1])
    assert rows[-1][4] is None
    mean, deviation = re.fullmatch(r"#\[Mean +=( *[\d.]+), StdDeviation +=( *[\d.]+)\]", lines[-3]).groups()
    assert float(mean) == pytest.approx(sum(values) / 1e10, rel=0.01)
    assert float(deviation) > 0
    assert re.fullmatch(r"#\[Max +=( *[\d.]+), Total count +=( *\d+)\]", lines[-2])[2].strip() == "10000"
    assert re.fullmatch(r"#\[Buckets = +\d+, SubBuckets +=  +\d+\]", lines[-1])


def test_the_text_form_of_nothing():
    assert "Total count    =            0]" in hdr_text(Histogram())


def test_a_schedule_deals_evenly():
    schedule = Schedule(2000.0, 3)
    schedule.begin(1_000_000)
    assert [schedule.deal() for _ in range(5)] == [0, 1, 2, 0, 1]
    assert schedule.due_at(0) == 1_000_000
    assert schedule.due_at(4) == 3_000_000
    assert schedule.due_on(1, 2) == schedule.due_at(7)
