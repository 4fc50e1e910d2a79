"""Client connections without I/O: framing, hostile bytes, stalls, cut-offs. # FAULTS 21, 22, 30, 31, 32"""

from itertools import pairwise

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proxy_core import Rig

from sherd.common.limits import Limits
from sherd.common.wire.encode import request
from sherd.proxy.bounds import Bounds

pytestmark = pytest.mark.core

STREAM = b"".join(
    [
        request(1, "put", ["a", {"x": [1, 2.5, None]}]),
        request(200, "get", [b"a"]),
        msgpack.packb([2, "put", ["a", "a notification is ignored"]]),
        request(70_000, "get", ["nothing"]),
        request(5, "mget", [["a", "b", "c", "d", "e"]]),
        request(6, "batch", [[["put", "b", 1], ["delete", "a"], ["put", "zz", b"\x00", {"ttl": 1.5}]]]),
        request(7, "nonsense", []),
        request(8, "get", []),
        request(2**32 - 1, "ping", []),
    ]
)


def answers(pieces: list[bytes]) -> dict[object, object]:
    """What comes back, by msgid. Each connection is served after every piece."""
    rig = Rig()
    session, sink = rig.session()
    found: dict[object, object] = {}
    for piece in pieces:
        session.feed(piece)
        rig.serve()
        for kind, msgid, error, result in sink.responses():
            assert kind == 1
            assert msgid not in found
            found[msgid] = (error, result)
    assert session.inflight == session.inflight_bytes == 0
    assert rig.budget.bytes == 0 or session.scanner.mid_frame
    return found


WHOLE = answers([STREAM])


def test_whole() -> None:
    assert set(WHOLE) == {1, 200, 70_000, 5, 6, 7, 8, 2**32 - 1}
    assert WHOLE[200] == (None, {b"x": [1, 2.5, None]})
    assert WHOLE[70_000] == (None, None)
    assert WHOLE[5] == (None, [{b"x": [1, 2.5, None]}, None, None, None, None])
    error = WHOLE[7]
    assert isinstance(error, tuple)
    assert error[0][0] == 2
    assert error[0][1].startswith(b"UNKNOWN_METHOD")


def test_byte_by_byte() -> None:
    assert answers([STREAM[i : i + 1] for i in range(len(STREAM))]) == WHOLE


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_cut_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert answers([STREAM[a:b] for a, b in pairwise(edges)]) == WHOLE


def test_truncated_at_each_byte() -> None:
    for size in range(len(STREAM)):
        found = answers([STREAM[:size]])
        assert {key: WHOLE[key] for key in found} == found


def test_each_byte_flipped() -> None:
    for position in range(len(STREAM)):
        for flip in (0xFF, 0x01, 0x80):
            damaged = bytearray(STREAM)
            damaged[position] ^= flip
            rig = Rig(shards=2)
            session, sink = rig.session()
            session.feed(bytes(damaged))
            rig.serve()
            assert all(len(response) == 4 and response[0] == 1 for response in sink.responses())
            assert session.inflight == 0


@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    rig = Rig(shards=2)
    session, sink = rig.session()
    session.feed(noise)
    rig.serve()
    assert all(response[0] == 1 for response in sink.responses())


HEAD = b"\x94\x00\x07"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (HEAD + b"\xa3get\x91\xdb\xff\xff\xff\xff", 3),
        (HEAD + b"\xa3get\x91\xc6\xff\xff\xff\xff", 3),
        (HEAD + b"\xa3get\xdd\xff\xff\xff\xff", 3),
        (HEAD + b"\xa3get\xdf\xff\xff\xff\xff", 3),
        (HEAD + b"\xc9\xff\xff\xff\xff\x01", 3),
        (HEAD + b"\xa3put\x92\xa1a" + b"\x91" * 100_000, 3),
        (HEAD + b"\xa3get\x91\xc1", 1),
        (HEAD + b"\xc1", 1),
        (b"\x94\x00\xc1", None),
        (b"\x94\x00\xa1a\xa3get\x90", None),
        (b"\x94\x05\x07\xa3get\x90", None),
        (b"\x93\x00\x07\xa3get", None),
        (b"\x85", None),
        (b"GET / HTTP/1.1\r\n", None),
        (b"\x00", None),
    ],
)
def test_bad_framing_gets_one_error_and_the_end(frame: bytes, code: int | None) -> None:
    rig = Rig(shards=1)
    session, sink = rig.session()
    session.feed(frame)
    rig.flush()
    responses = sink.responses()
    assert sink.events == ["close"]
    if code is None:
        assert responses == []
    else:
        [[_, msgid, error, result]] = responses
        assert isinstance(error, list)
        assert (msgid, error[0], result) == (7, code, None)
    session.feed(request(1, "ping", []))
    rig.flush()
    assert sink.written == b""
    assert rig.budget.bytes == 0


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (1, []),
        (None, []),
        (["get"], ["a"]),
        ("x" * 100, []),
        (b"\xff\xfe", []),
        ("get", {}),
        ("get", None),
        ("get", "a"),
        ("get", [1]),
        ("get", [None]),
        ("get", [""]),
        ("get", ["a", []]),
        ("get", ["a", {"bogus": 1}]),
        ("get", ["a", {"meta": 1}]),
        ("get", ["a", {}, {}]),
        ("get", [msgpack.ExtType(5, b"a")]),
        ("put", ["a"]),
        ("put", ["a", None]),
        ("put", ["a", 1, {"ttl": -1}]),
        ("put", ["a", 1, {"ttl": "\udcff"}]),
        ("put", ["a", 1, {"ttl": float("nan")}]),
        ("put", ["a", 1, {"if_version": -1}]),
        ("delete", ["a", {"ttl": 1}]),
        ("mget", ["a"]),
        ("mget", [[1]]),
        ("mget", [[], 5]),
        ("batch", [[["get", "a"]]]),
        ("batch", [["put", "a", 1]]),
        ("batch", [[["put", "a"]]]),
        ("batch", [[["delete", "a", {"ttl": 5}]]]),
        ("scan", []),
        ("count", [1, 2]),
        ("ping", [1]),
        ("hello", [{"errors": "loud"}]),
        ("hello", [[]]),
        ("auth", ["secret"]),
        ("status", [1]),
        ("topology", [None]),
    ],
)
def test_wrong_requests_are_refused_and_the_connection_stays(method: object, params: object) -> None:
    rig = Rig(shards=2)
    session, sink = rig.session()
    session.feed(msgpack.packb([0, 9, method, params], unicode_errors="surrogateescape"))
    session.feed(request(10, "ping", []))
    rig.serve()
    [refused, ping] = sink.responses()
    assert refused[1] == 9
    assert isinstance(refused[2], list)
    assert refused[2][0] in (1, 2), refused
    assert ping == [1, 10, None, b"pong"]
    assert sink.events == []
    assert all(not shard.seen for shard in rig.shards.values())


def test_limits_name_themselves() -> None:
    rig = Rig(shards=1, limits=Limits(value_bytes_max=2000))
    assert rig.call("get", b"k" * 4096) is None
    error = rig.call("get", b"k" * 4097)
    assert isinstance(error, list)
    assert error[1][0] == 3
    assert b"4096" in error[1][1]
    assert rig.call("put", "k", b"v" * 1990) == 1
    error = rig.call("put", "k", b"v" * 2000)
    assert isinstance(error, list)
    assert error[1][0] == 3
    assert b"2000" in error[1][1]
    nested: object = 1
    for _ in range(128):
        nested = [nested]
    assert rig.call("put", "k", nested) == 2
    error = rig.call("put", "k", [nested])
    assert isinstance(error, list)
    assert error[1][0] == 3


def test_msgid_is_echoed_byte_for_byte() -> None:
    for msgid in (b"\x07", b"\xcc\x07", b"\xcd\x00\x07", b"\xce\x00\x00\x00\x07"):
        rig = Rig(shards=1)
        session, sink = rig.session()
        session.feed(b"\x94\x00" + msgid + b"\xa3get\x91\xa1a" + b"\x94\x00" + msgid + b"\xa4oops\x90")
        rig.serve()
        assert sink.written.count(b"\x94\x01" + msgid) == 2


def test_errors_as_text_after_hello() -> None:
    rig = Rig(shards=2)
    session, sink = rig.session()
    session.feed(request(1, "hello", [{"client": "test", "errors": "string"}]))
    session.feed(request(2, "get", [5]))
    session.feed(request(3, "put", ["a", 1, {"if_version": 77}]))
    rig.serve()
    [hello, local, forwarded] = sink.responses()
    assert isinstance(hello[3], dict)
    assert hello[3][b"limits"][b"key_bytes_max"] == 4096
    assert local[2] == b"BAD_REQUEST key must be str or bin"
    assert forwarded == [1, 3, b"CONFLICT version is 0", None]


def test_a_flood_stalls_and_goes_on_at_half() -> None:
    rig = Rig(shards=1, limits=Limits(inflight_requests_max=10))
    session, sink = rig.session()
    session.feed(b"".join(request(number, "get", ["a"]) for number in range(1000)))
    rig.flush()
    assert session.inflight == 10
    assert sink.events == ["pause"]
    assert rig.link(1).live == 10
    rig.serve()
    assert len(sink.responses()) == 1000
    assert sink.events == ["pause", "resume"]
    assert session.inflight == 0


def test_bytes_in_flight_stall_too() -> None:
    rig = Rig(shards=1, limits=Limits(inflight_bytes_max=10_000))
    session, sink = rig.session()
    session.feed(b"".join(request(number, "put", ["a", b"x" * 3000]) for number in range(10)))
    rig.flush()
    assert session.inflight == 4
    rig.serve()
    assert len(sink.responses()) == 10


def test_a_client_that_does_not_read_is_cut_off_alone() -> None:
    rig = Rig(shards=1, limits=Limits(unread_bytes_max=1000))
    session, sink = rig.session()
    other, other_sink = rig.session()
    sink.unread = 1001
    session.feed(request(1, "get", ["a"]))
    other.feed(request(1, "get", ["a"]))
    rig.serve()
    assert sink.events == ["abort"]
    assert session.closed
    assert other_sink.responses() == [[1, 1, None, None]]
    other.lose()
    assert rig.budget.bytes == 0


def test_a_choked_client_is_not_read_from() -> None:
    rig = Rig(shards=1)
    session, sink = rig.session()
    session.choke()
    session.feed(request(1, "get", ["a"]))
    rig.serve()
    assert sink.responses() == []
    session.unchoke()
    rig.serve()
    assert sink.responses() == [[1, 1, None, None]]
    assert sink.events == ["pause", "resume"]


def test_over_the_budget_requests_are_shed() -> None:
    rig = Rig(shards=1, bounds=Bounds(total_bytes_max=100_000))
    greedy, greedy_sink = rig.session()
    for number in range(40):
        greedy.feed(request(number, "put", ["a", b"x" * 10_000]))
    rig.flush()
    shed = greedy_sink.responses()
    assert shed
    assert all(isinstance(found[2], list) and found[2][0] == 20 for found in shed)
    late, late_sink = rig.session()
    late.feed(request(3, "batch", [[["put", "a", b"x" * 200_000]]])[:150_000])
    rig.flush()
    [[_, msgid, error, _]] = late_sink.responses()
    assert isinstance(error, list)
    assert (msgid, error[0]) == (3, 20)
    assert late_sink.events == ["close"]
    rig.serve()
    assert rig.budget.bytes == 0


def test_slow_senders_are_found() -> None:
    rig = Rig(shards=1)
    session, _ = rig.session()
    assert not session.is_late(0.0, 30.0, 20.0, 1000.0)
    assert not session.is_late(29.0, 30.0, 20.0, 1000.0)
    assert session.is_late(31.0, 30.0, 20.0, 1000.0)
    session.feed(request(1, "ping", []))
    assert not session.is_late(1000.0, 30.0, 20.0, 1000.0)
    frame = request(1, "put", ["a", b"x" * 100_000])
    for second in range(20):
        session.feed(frame[second : second + 1])
        assert not session.is_late(1001.0 + second, 30.0, 20.0, 1000.0)
    assert session.is_late(1022.0, 30.0, 20.0, 1000.0)
    session.feed(frame[20:50_000])
    assert not session.is_late(1060.0, 30.0, 20.0, 1000.0)


def test_a_lost_client_leaves_nothing_behind() -> None:
    rig = Rig(shards=2)
    session, sink = rig.session()
    session.feed(b"".join(request(number, "get", [f"k{number}"]) for number in range(50)))
    session.feed(request(60, "mget", [[f"k{number}" for number in range(50)]]))
    session.feed(request(61, "scan", [None, None]) + request(62, "count", [None, None]) + b"\x94\x00")
    rig.flush()
    session.lose()
    rig.serve()
    assert sink.written == b""
    assert rig.budget.bytes == 0
    assert all(link.idle for link in rig.routes.links)
