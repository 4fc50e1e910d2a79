"""The small encoders against an independent codec, at both sides of every change of form."""

import msgpack
import pytest
from support.frames import MSGIDS, scan

from sherd.common.errors import BY_CODE, Conflict, Internal, Partial, from_wire
from sherd.common.wire import encode

pytestmark = pytest.mark.core

EDGES = sorted({max(0, (1 << bits) + step) for bits in (0, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64) for step in (-1, 0, 1)})


@pytest.mark.parametrize("number", [edge for edge in EDGES if edge < 1 << 64])
def test_uint(number):
    assert encode.uint(number) == msgpack.packb(number)


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_uint_out_of_range(number):
    with pytest.raises((OverflowError, ValueError)):
        encode.uint(number)


@pytest.mark.parametrize("count", [edge for edge in EDGES if edge < 1 << 32])
def test_headers(count):
    assert encode.array_header(count) == msgpack.Packer().pack_array_header(count)
    if count < 1 << 20:
        assert encode.bin_header(count) == msgpack.packb(bytes(count))[: -count or None]


def test_large_bin_header():
    assert encode.bin_header(2**32 - 1) == b"\xc6\xff\xff\xff\xff"


@pytest.mark.parametrize("count", [-1, 1 << 32])
def test_headers_out_of_range(count):
    for header in (encode.array_header, encode.bin_header):
        with pytest.raises((OverflowError, ValueError)):
            header(count)


@pytest.mark.parametrize("msgid", MSGIDS)
def test_replies_are_lawful_responses(msgid):
    (found,) = scan([encode.result_reply(msgid, b"\xa2ok")], responses=True).frames
    assert (found.msgid, found.body) == (msgid, b"\xc0\xa2ok")
    for as_string in (False, True):
        (found,) = scan([encode.error_reply(msgid, Internal("why"), as_string)], responses=True).frames
        assert (found.msgid, found.number) == (msgid, MSGIDS[msgid])


@pytest.mark.parametrize("kind", BY_CODE.values())
def test_errors_in_both_forms(kind):
    error = kind("key must not be empty", {"version": 3})
    _, _, array, result = msgpack.unpackb(encode.error_reply(b"\x01", error))
    assert (array, result) == ([kind.code, f"{kind.name} key must not be empty", {"version": 3}], None)
    _, _, text, result = msgpack.unpackb(encode.error_reply(b"\x01", error, as_string=True))
    assert (text, result) == (f"{kind.name} key must not be empty", None)
    for wire in (array, text):
        back = from_wire(wire)
        assert type(back) is kind
        assert back.message == error.message


def test_error_without_message():
    _, _, error, _ = msgpack.unpackb(encode.error_reply(b"\x01", Internal()))
    assert error == [41, "INTERNAL", None]
    assert from_wire(error).message == ""


def test_details_survive():
    partial = Partial("2 of 3", {"done": [0], "failed": [[1, 21, "no leader"]], "unknown": [2]})
    back = from_wire(msgpack.unpackb(encode.error_reply(b"\x01", partial))[2])
    assert isinstance(back, Partial)
    assert (back.done, back.failed, back.unknown) == ([0], [(1, 21, "no leader")], [2])
    conflict = from_wire(msgpack.unpackb(encode.error_reply(b"\x01", Conflict("", {"version": 2**63})))[2])
    assert isinstance(conflict, Conflict)
    assert conflict.version == 2**63


def test_request():
    (found,) = scan([encode.request(2**32 - 1, "get", [b"k"])]).frames
    assert (found.number, found.method, found.body) == (2**32 - 1, b"get", b"\x91\xc4\x01k")
