"""Bloom filters: never deny a key that is there, seldom let one through that is not."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import truncations

from sherd.shard.lsm.bloom import build_filter, check_filter, filter_passes, hash_key, probes_for

pytestmark = pytest.mark.core


def packed(hashes: Iterable[int]) -> bytes:
    return b"".join(key_hash.to_bytes(8, "little") for key_hash in hashes)


@given(st.sets(st.binary(min_size=1, max_size=20), max_size=200), st.integers(1, 32))
def test_every_key_passes(keys: set[bytes], bits_per_key: int) -> None:
    data = build_filter(packed(map(hash_key, keys)), bits_per_key)
    check_filter(data)
    assert all(filter_passes(data, hash_key(key)) for key in keys)


@pytest.mark.parametrize("count", [100, 10_000])
@pytest.mark.parametrize(("bits_per_key", "rate_max"), [(5, 0.13), (10, 0.015), (16, 0.002)])
def test_few_absent_keys_pass(count: int, bits_per_key: int, rate_max: float) -> None:
    data = build_filter(packed(hash_key(b"in %d" % i) for i in range(count)), bits_per_key)
    probes = 20_000
    passed = sum(filter_passes(data, hash_key(b"out %d" % i)) for i in range(probes))
    assert passed / probes < rate_max


def test_the_size_follows_the_keys() -> None:
    hashes = packed(range(8000))
    assert len(build_filter(hashes, 10)) == 4 + 10_000
    assert len(build_filter(b"", 10)) == 4 + 8
    assert probes_for(10) == 7
    assert probes_for(1) == 1


def test_what_is_no_filter_is_refused() -> None:
    data = build_filter(packed([1]), 10)
    for _, cut in truncations(data):
        with pytest.raises(ValueError, match="filter of"):
            check_filter(cut)
    for probes in (0, 31, 2**32 - 1):
        with pytest.raises(ValueError, match="probes"):
            check_filter(probes.to_bytes(4, "little") + data[4:])
