"""What the load generator draws: keys, orders, sizes; measured against what the distributions say."""

import itertools
import math
from collections import Counter

import pytest

from sherd.cli.bench.key_choice import LATEST, UNIFORM, ZIPFIAN, Inserts, KeyChoice
from sherd.cli.bench.permutation import Permutation
from sherd.cli.bench.random_source import RandomSource
from sherd.cli.bench.value_sizes import parse_value_sizes
from sherd.cli.bench.zipfian import THETA, Zipfian, zeta
from sherd.common.errors import ConfigError

pytestmark = pytest.mark.core

DRAWS = 60_000
KEYS = 1000


def drawn(distribution, inserts=None):
    choice = KeyChoice(distribution, KEYS, RandomSource(7), inserts or Inserts(KEYS))
    return Counter(choice.pick() for _ in range(DRAWS))


def test_the_source_is_even_and_its_seed_determines_it():
    source, same, other = RandomSource(1), RandomSource(1), RandomSource(2)
    numbers = [source.draw() for _ in range(2000)]
    assert numbers == [same.draw() for _ in range(2000)]
    assert numbers[0] != other.draw()
    for bit in range(64):
        assert 0.45 < sum(number >> bit & 1 for number in numbers) / 2000 < 0.55
    assert 0.48 < sum(source.fraction() for _ in range(5000)) / 5000 < 0.52


@pytest.mark.parametrize("count", [1, 9_999, 10_001, 50_000])
def test_zeta_is_the_sum(count):
    assert zeta(count, THETA) == pytest.approx(sum(i**-THETA for i in range(1, count + 1)), rel=1e-9)


def test_zipfian_ranks_have_their_shares():
    zipfian, source = Zipfian(KEYS), RandomSource(3)
    counts = Counter(zipfian.rank(source.fraction()) for _ in range(DRAWS))
    total = zeta(KEYS, THETA)
    for rank in (0, 1):  # exact by the method
        assert counts[rank] / DRAWS == pytest.approx((rank + 1) ** -THETA / total, rel=0.05)
    for first in (10, 100, 500):  # the curve between is close
        share = sum(counts[rank] for rank in range(first)) / DRAWS
        assert share == pytest.approx(zeta(first, THETA) / total, rel=0.05)
    assert max(counts) < KEYS


def test_zipfian_grows_as_if_it_had_been_larger_from_the_start():
    grown = Zipfian(5)
    for count in (6, 900, 20_000):
        grown.grow(count)
        fresh = Zipfian(count)
        fractions = [i / 97 for i in range(97)]
        assert [grown.rank(f) for f in fractions] == [fresh.rank(f) for f in fractions]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_zipfian_over_a_few_items(count):
    zipfian = Zipfian(count)
    assert {zipfian.rank(i / 1000) for i in range(1000)} == set(range(count))


def test_uniform_keys_come_equally_often():
    counts = drawn(UNIFORM)
    assert len(counts) == KEYS
    expected = DRAWS / KEYS
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < KEYS + 6 * math.sqrt(2 * KEYS)


def test_zipfian_keys_are_as_skewed_but_scattered():
    popular = drawn(ZIPFIAN).most_common(10)
    assert popular[0][1] / DRAWS == pytest.approx(1 / zeta(KEYS, THETA), rel=0.1)
    keys = sorted(key for key, _ in popular)
    assert keys[-1] - keys[0] > KEYS / 2


def test_latest_prefers_the_newest_and_follows_inserts():
    inserts = Inserts(KEYS)
    assert drawn(LATEST, inserts).most_common(1)[0][0] == KEYS - 1
    taken = [inserts.take() for _ in range(3)]
    assert taken == [KEYS, KEYS + 1, KEYS + 2]
    inserts.answer(KEYS + 1)  # the one before is not there yet
    assert inserts.present == KEYS
    inserts.answer(KEYS)
    assert inserts.present == KEYS + 2
    counts = drawn(LATEST, inserts)
    assert counts.most_common(1)[0][0] == KEYS + 1
    assert max(counts) == KEYS + 1
    assert counts[KEYS + 1] / DRAWS == pytest.approx(1 / zeta(KEYS + 2, THETA), rel=0.05)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 1000])
def test_a_permutation_has_each_number_once_and_no_order(count):
    numbers = [Permutation(count, 5).at(i) for i in range(count)]
    assert sorted(numbers) == list(range(count))
    if count >= 64:
        rises = sum(a < b for a, b in itertools.pairwise(numbers))
        assert 0.35 < rises / count < 0.65
        assert numbers != [Permutation(count, 6).at(i) for i in range(count)]


def test_sizes():
    source = RandomSource(1)
    fixed = parse_value_sizes("100")
    assert (fixed.low, fixed.high, fixed.draw(source)) == (100, 100, 100)
    uniform = parse_value_sizes("uniform:10-19")
    assert {uniform.draw(source) for _ in range(500)} == set(range(10, 20))
    lognormal = parse_value_sizes("lognormal:200:0.5")
    sizes = sorted(lognormal.draw(source) for _ in range(5000))
    assert sizes[2500] == pytest.approx(200, rel=0.05)
    assert sizes[4207] == pytest.approx(200 * math.exp(0.5), rel=0.07)  # one sigma above
    assert lognormal.low <= sizes[0] <= sizes[-1] <= lognormal.high


@pytest.mark.parametrize("text", ["", "-1", "x", "uniform:9", "uniform:9-1", "lognormal:0:1", "lognormal:9:9", "1e3"])
def test_sizes_that_are_none(text):
    with pytest.raises(ConfigError):
        parse_value_sizes(text)
