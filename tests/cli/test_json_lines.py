"""Entries as JSON Lines: every stored byte comes back, whatever the value; bad lines are told from good ones."""

import base64
import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.cli.json_lines import BadLine, decode_line, encode_line

pytestmark = pytest.mark.core

keys = st.binary(min_size=1, max_size=40)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
msgpack_values = st.recursive(
    st.none() | json_values | st.floats() | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers() | st.text() | st.binary(), inner, max_size=4)
    ),
    max_leaves=12,
).filter(lambda value: value is not None)


def fields_of(value: bytes):
    return json.loads(encode_line((b"k", value)))


@given(keys, msgpack_values)
def test_every_entry_comes_back_byte_for_byte(key, value):
    try:
        packed = msgpack.packb(value)
    except OverflowError:
        return
    line = encode_line((key, packed))
    assert "\n" not in line
    assert decode_line(line.encode()) == (key, packed)


@given(json_values)
def test_what_json_can_say_is_said_in_json(value):
    fields = fields_of(msgpack.packb(value))
    assert fields == {"key": "k", "value": value}


@pytest.mark.parametrize(
    "value",
    [
        b"\xcd\x00\x01",  # 1, not in its shortest form
        b"\xca\x3f\x80\x00\x00",  # 1.0 as float32
        b"\xd9\x01a",  # "a" with a long header
        b"\xa1\xff",  # a str that is not UTF-8
        b"\xc5\x00\x01x",  # bin with a long header
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",  # NaN
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xc7\x03\x05abc",  # ext
        b"\x81\x01\x02",  # a map whose key is an integer
        b"\x82\xa1a\x01\xa1a\x02",  # a map with a key twice
        b"\x91\xc4\x01x",  # bin inside an array
        b"\x81\x90\x01",  # a map whose key is an array
    ],
)
def test_what_json_cannot_say_travels_as_it_is_stored(value):
    fields = fields_of(value)
    assert base64.b64decode(fields["value_msgpack_b64"]) == value
    assert decode_line(encode_line((b"k", value)).encode()) == (b"k", value)


def test_bin_and_keys_that_are_not_text():
    assert fields_of(msgpack.packb(b"\x00\xff")) == {"key": "k", "value_b64": "AP8="}
    assert json.loads(encode_line((b"\xff", b"\x01"))) == {"key_b64": "/w==", "value": 1}
    assert json.loads(encode_line(("ключ".encode(), b"\x01")))["key"] == "ключ"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"key": "a"}', "no value or value_b64 or value_msgpack_b64"),
        (b'{"value": 1}', "no key or key_b64"),
        (b'{"key": "a", "key_b64": "YQ==", "value": 1}', "exclude each other"),
        (b'{"key": "a", "value": 1, "value_b64": "YQ=="}', "exclude each other"),
        (b'{"key": "a", "value": null}', "null"),
        (b'{"key": "a", "value_msgpack_b64": "wA=="}', "nil"),
        (b'{"key": "a", "value_msgpack_b64": ""}', "not exactly one MessagePack value"),
        (b'{"key": "a", "value_msgpack_b64": "AQE="}', "not exactly one MessagePack value"),
        (b'{"key": "a", "value_msgpack_b64": "wQ=="}', "not exactly one MessagePack value"),
        (b'{"key": "a", "value_b64": "?"}', "value_b64 is not base64"),
        (b'{"key": "a", "value_b64": 7}', "value_b64 is not base64"),
        (b'{"key_b64": 7, "value": 1}', "key_b64 is not a string"),
        (b'{"key": 7, "value": 1}', "key is not a string"),
        (b'{"key": "", "value": 1}', "the key has 0 bytes"),
        (b'{"key": "\\ud800", "value": 1}', "surrogate"),
        (b'{"key": "a", "value": 1, "ttl": 5}', "unknown field 'ttl'"),
        (b'{"key": "a", "value": NaN}', "NaN is not JSON"),
        (b'{"key": "a", "value": 18446744073709551616}', "no MessagePack form"),
        (b'{"key": "a", "value": "\\ud800"}', "no MessagePack form"),
    ],
)
def test_a_bad_line_says_why(line, words):
    with pytest.raises(BadLine, match=words):
        decode_line(line)
