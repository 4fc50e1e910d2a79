"""Walking MessagePack bytes: ends of values against an independent decoder, and positions that are none. FAULTS 32."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frames import VALUES

from sherd.common.wire.primitives import payload, value_end

pytestmark = pytest.mark.core

WRONG_POSITIONS = (-1, -5, -(2**31), -(2**63), 100, 2**31, 2**62, 2**63 - 1)


def unpacker_end(data: bytes) -> int:
    """Where msgpack sees the first value of ``data`` end; -1 if it sees none."""
    if data.startswith(b"\xc9\xff\xff\xff\xff"):
        return -1  # its length counter wraps to 0 on an ext of 2**32 - 1 bytes
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    try:
        unpacker.skip()
    except (msgpack.OutOfData, msgpack.FormatError, msgpack.StackError):
        return -1
    return unpacker.tell()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:6].hex())
class TestEveryHeader:
    """One value of each kind."""

    def test_end(self, value):
        for before, after in ((b"", b""), (b"\xc1\xff", b""), (b"\x91", b"\xc1")):
            assert value_end(before + value + after, len(before)) == len(before) + len(value)

    def test_cut_anywhere(self, value):
        for size in range(len(value)):
            assert value_end(value[:size], 0) == -1

    def test_changed_anywhere(self, value):
        for position in range(len(value)):
            for byte in range(256):
                changed = value[:position] + bytes((byte,)) + value[position + 1 :]
                assert value_end(changed, 0) == unpacker_end(changed), changed.hex()

    def test_payload(self, value):
        is_text = 0xA0 <= value[0] <= 0xBF or value[0] in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB)
        expected = msgpack.unpackb(value, raw=True) if is_text else None
        assert payload(value, 0) == expected
        assert payload(b"\xc1" + value + b"\xc1", 1) == expected
        assert payload(value[:-1], 0) is None


class TestDepth:
    """Containers nest to the depth allowed and no deeper; the walk itself never goes deeper."""

    @pytest.mark.parametrize("depth", [0, 1, 2, 127, 128])
    @pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01\x01"])
    def test_levels(self, depth, opening):
        exact = opening * depth + b"\x05"
        assert value_end(exact, 0, depth) == len(exact)
        assert value_end(opening + exact, 0, depth) == -1

    def test_empty_containers_count(self):
        for empty in (b"\x90", b"\x80", b"\xdc\x00\x00", b"\xdf\x00\x00\x00\x00"):
            assert value_end(empty, 0, 0) == -1
            assert value_end(empty, 0, 1) == len(empty)

    @pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\x81"])
    def test_hostile_nesting(self, opening):
        assert value_end(opening * 100_000, 0) == -1


class TestHostile:
    """Positions beyond the bytes, and counts beyond what could follow."""

    @pytest.mark.parametrize("position", WRONG_POSITIONS)
    @pytest.mark.parametrize("data", [b"", b"\xa1k", b"\x91\xa1k", b"\xc4\x01k"])
    def test_positions(self, data, position):
        assert value_end(data, position) == -1
        assert payload(data, position) is None

    @pytest.mark.parametrize("head", [0xC6, 0xC9, 0xDB, 0xDD, 0xDF])
    def test_lengths(self, head):
        for length in (2**32 - 1, 2**31, 2**31 - 1, 100):
            data = bytes((head,)) + length.to_bytes(4, "big") + bytes(50)
            assert value_end(data, 0) == -1
            assert value_end(b"\x91" + data, 0) == -1
            assert payload(data, 0) is None

    @given(st.binary(max_size=80), st.integers(-10, 90))
    @settings(max_examples=400)
    def test_any_bytes(self, data, position):
        end = value_end(data, position)
        if position < 0:
            assert end == -1
        else:
            expected = unpacker_end(data[position:])
            assert end == (-1 if expected < 0 else position + expected)
