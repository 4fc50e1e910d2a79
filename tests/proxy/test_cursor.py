"""Cursors: round trips, and damage of every kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.common.errors import BadRequest
from sherd.proxy.cursor import Cursor, decode_cursor

pytestmark = pytest.mark.core

BOUNDS = st.none() | st.binary(max_size=4097)


@given(BOUNDS, BOUNDS, st.booleans(), st.booleans(), st.booleans())
def test_round_trip(start: bytes | None, end: bytes | None, reverse: bool, keys_only: bool, meta: bool) -> None:
    cursor = Cursor(start, end, reverse, keys_only, meta)
    assert decode_cursor(cursor.encode()) == cursor


def test_every_bit_flipped_is_refused() -> None:
    encoded = Cursor(b"from", b"until", True).encode()
    for position in range(len(encoded) * 8):
        damaged = bytearray(encoded)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(BadRequest):
            decode_cursor(bytes(damaged))


def test_every_truncation_and_trailing_bytes_are_refused() -> None:
    encoded = Cursor(b"from", None).encode()
    for size in range(len(encoded)):
        with pytest.raises(BadRequest):
            decode_cursor(encoded[:size])
    with pytest.raises(BadRequest):
        decode_cursor(encoded + b"\0")


@given(st.binary(max_size=64))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_cursor(noise)
