"""The protocol core, byte by byte: framing, matching, late replies, and what a server must not send."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.client.frames import FrameError, FrameSplitter
from sherd.client.protocol import ClientProtocol, ProtocolError
from sherd.common.errors import BadRequest, Conflict, Internal, Overloaded

VALUES = [
    None,
    True,
    7,
    -1,
    2**63,
    1.5,
    "text",
    b"bytes" * 50,
    [1, [2, {"a": b"b"}]],
    {"k": None},
    msgpack.ExtType(5, b"x"),
]
FRAMES = [msgpack.packb([1, i, None, value]) for i, value in enumerate(VALUES)]


def started(count: int) -> ClientProtocol[str]:
    protocol: ClientProtocol[str] = ClientProtocol()
    for number in range(count):
        protocol.send("get", (b"k",), f"call {number}")
    return protocol


def reply(msgid: int, result: object, error: object = None) -> bytes:
    packed: bytes = msgpack.packb([1, msgid, error, result])
    return packed


def test_requests_are_numbered_and_remembered() -> None:
    protocol: ClientProtocol[str] = ClientProtocol()
    sent = [protocol.send("put", (b"k", {"a": 1}), name) for name in "ab"]
    assert [msgpack.unpackb(data) for _, data in sent] == [
        [0, 1, "put", [b"k", {"a": 1}]],
        [0, 2, "put", [b"k", {"a": 1}]],
    ]
    assert protocol.pending == 2
    assert list(protocol.calls()) == [(1, "a"), (2, "b")]


def test_replies_are_matched_in_any_order() -> None:
    protocol = started(3)
    replies = protocol.receive(reply(3, "c") + reply(1, "a") + reply(2, None, [4, "CONFLICT no", {"version": 9}]))
    assert [(one.call, one.result) for one in replies] == [("call 2", "c"), ("call 0", "a"), ("call 1", None)]
    error = replies[2].error
    assert isinstance(error, Conflict)
    assert error.version == 9
    assert protocol.pending == 0


def test_a_forgotten_call_drops_its_late_reply() -> None:
    protocol = started(2)
    protocol.forget(1)
    assert [one.call for one in protocol.receive(reply(1, "late") + reply(2, "in time"))] == ["call 1"]
    assert protocol.receive(reply(1, "twice") + reply(77, "never asked")) == []


def test_all_is_forgotten_when_the_connection_goes() -> None:
    protocol = started(3)
    protocol.receive(reply(2, "x"))
    assert protocol.forget_all() == ["call 0", "call 2"]
    assert protocol.pending == 0


def test_message_ids_wrap_and_skip_those_in_use() -> None:
    protocol = started(1)  # has message id 1
    protocol._msgid = 2**32 - 2
    assert [protocol.send("ping", (), "x")[0] for _ in range(3)] == [2**32 - 1, 0, 2]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ([20, "OVERLOADED busy", None], Overloaded, "busy"),
        ([20, "OVERLOADED"], Overloaded, ""),
        ("OVERLOADED busy", Overloaded, "busy"),
        ("something else", Internal, "something else"),
        ([999, "NEW thing", None], Internal, "NEW thing"),
        (True, Internal, "True"),
    ],
)
def test_both_forms_of_errors(error: object, kind: type[Exception], message: str) -> None:
    (one,) = started(1).receive(reply(1, None, error))
    assert type(one.error) is kind
    assert str(one.error) == message


def test_a_result_that_cannot_be_decoded_fails_its_own_call_only() -> None:
    protocol = started(3)
    unhashable = b"\x94\x01\x02\xc0" + b"\x81\x91\x01\x02"  # a map whose key is an array
    replies = protocol.receive(reply(1, "a") + unhashable + reply(3, "c"))
    assert [(one.call, one.result) for one in replies] == [("call 0", "a"), ("call 1", None), ("call 2", "c")]
    assert isinstance(replies[1].error, TypeError)


def test_text_that_is_not_utf8_comes_back_as_the_same_bytes() -> None:
    protocol = started(1)
    (one,) = protocol.receive(b"\x94\x01\x01\xc0" + b"\xa2\xff\xfe")
    assert one.result == "\udcff\udcfe"
    _, data = protocol.send("put", (b"k", one.result), "again")
    assert data.endswith(b"\xa2\xff\xfe")


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_numbers_out_of_range_are_refused_before_sending(value: int) -> None:
    protocol: ClientProtocol[str] = ClientProtocol()
    with pytest.raises(BadRequest, match="put"):
        protocol.send("put", (b"k", value), "x")
    with pytest.raises(TypeError):
        protocol.send("put", (b"k", object()), "x")
    assert protocol.pending == 0
    assert protocol.send("put", (b"k", 1), "x")[1] == msgpack.packb([0, 3, "put", [b"k", 1]])


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([1, 1, None]),
        msgpack.packb([1, 1, None, None, None]),
        msgpack.packb([2, "note", []]),
        msgpack.packb([0, 1, "get", []]),
        msgpack.packb([1, "1", None, 5]),
        msgpack.packb([1, True, None, 5]),
        msgpack.packb([1, None, "TOO_LARGE frame", None]),
        msgpack.packb({1: 2}),
        b"\x91" * 2000,
        b"\x93\x01\x01\x81\x91\x01\x02",
        b"\x94\x01\x81\x91\x01\x02\xc0\xc0",
    ],
)
def test_what_is_no_reply_ends_the_connection(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        started(1).receive(data)


def test_a_reply_over_the_limit_ends_the_connection() -> None:
    splitter = FrameSplitter(100_000)
    assert splitter.feed(msgpack.packb(b"x" * 90_000)) == [msgpack.packb(b"x" * 90_000)]
    assert splitter.feed(msgpack.packb(b"x" * 200_000)[:60_000]) == []
    with pytest.raises(FrameError, match="100000"):
        splitter.feed(b"x" * 60_000)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_frames_come_out_whole_however_they_are_cut(step: int) -> None:
    stream = b"".join(FRAMES)
    splitter = FrameSplitter()
    found: list[bytes] = []
    for start in range(0, len(stream), step):
        found += splitter.feed(stream[start : start + step])
    assert found == FRAMES


@given(st.lists(st.binary(max_size=60)), st.lists(st.integers(1, 40), min_size=1))
def test_any_cut_of_any_frames(values: list[bytes], steps: list[int]) -> None:
    frames = [msgpack.packb([1, i, None, value]) for i, value in enumerate(values)]
    stream = b"".join(frames)
    splitter = FrameSplitter()
    found: list[bytes] = []
    start = turn = 0
    while start < len(stream):
        step = steps[turn % len(steps)]
        found += splitter.feed(stream[start : start + step])
        start, turn = start + step, turn + 1
    assert found == frames


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_give_replies_or_end_it(data: bytes) -> None:
    protocol = started(5)
    try:
        protocol.receive(data)
    except ProtocolError:
        pass


def test_a_large_frame_leaves_the_splitter_working() -> None:
    splitter = FrameSplitter()
    large = msgpack.packb([1, 1, None, b"z" * 3_000_000])
    found: list[bytes] = []
    stream = large + b"".join(FRAMES)
    for start in range(0, len(stream), 65536):
        found += splitter.feed(stream[start : start + 65536])
    assert found == [large, *FRAMES]
    assert splitter.feed(FRAMES[0]) == [FRAMES[0]]
