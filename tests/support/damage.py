"""Every small damage that can be done to a run of bytes; decoders must answer each with an error or the right data."""

from collections.abc import Iterator


def truncations(data: bytes) -> Iterator[tuple[int, bytes]]:
    """``data`` cut to each shorter length, with that length."""
    for size in range(len(data)):
        yield size, data[:size]


def flips(data: bytes, masks: tuple[int, ...] = (0x01, 0x80, 0xFF)) -> Iterator[tuple[int, bytes]]:
    """``data`` with one byte changed by each mask, at each position, with that position."""
    for position in range(len(data)):
        for mask in masks:
            damaged = bytearray(data)
            damaged[position] ^= mask
            yield position, bytes(damaged)
