"""The frame scanner: every frame however it is cut, and every abuse refused at its header. FAULTS 32."""

import sys
import time
from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frames import (
    MSGIDS,
    NOT_METHODS,
    SMALL,
    VALUES,
    Outcome,
    bytewise,
    cut,
    pack,
    request,
    sample_requests,
    sample_responses,
    scan,
)

from sherd.common.limits import FRAME_DEPTH_MAX, VALUE_NESTING_MAX, Limits
from sherd.common.wire.scanner import FramingError, Scanner

pytestmark = pytest.mark.core

REQUESTS = sample_requests()
RESPONSES = sample_responses()
SAMPLES = [(False, REQUESTS), (True, RESPONSES)]
BAD_REQUEST, TOO_LARGE = 1, 3
PUT_HEAD = b"\x94\x00\x2a\xa3put"
HOSTILE_HEADS = [bytes((head,)) + b"\xff\xff\xff\xff" for head in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)]


@pytest.mark.parametrize(("responses", "samples"), SAMPLES, ids=["requests", "responses"])
class TestEveryCut:
    """Whatever the cut, the frames are the same and nothing is left over."""

    def test_whole(self, responses, samples):
        for frame, expected in samples.items():
            assert scan([frame], responses) == Outcome((expected,), None, 0)

    def test_byte_by_byte(self, responses, samples):
        for frame, expected in samples.items():
            assert scan(bytewise(frame), responses) == Outcome((expected,), None, 0)

    def test_in_two_pieces(self, responses, samples):
        for frame, expected in samples.items():
            for position in range(min(len(frame), 200)):
                assert scan(cut(frame, [position]), responses).frames == (expected,), (frame, position)

    def test_many_in_one_piece(self, responses, samples):
        stream = b"".join(samples)
        assert scan([stream], responses) == Outcome(tuple(samples.values()), None, 0)
        assert scan(bytewise(stream), responses) == Outcome(tuple(samples.values()), None, 0)

    def test_truncated_at_every_byte(self, responses, samples):
        for frame, expected in samples.items():
            for position in range(min(len(frame), 200)):
                scanner = Scanner(SMALL, responses)
                scanner.feed(frame[:position])
                assert not scanner.next()
                assert scanner.buffered_bytes == position
                assert scanner.mid_frame == (position > 0)
                scanner.feed(frame[position:])
                assert scanner.next()
                assert scanner.data[scanner.frame_start : scanner.frame_end] == expected.frame
                assert not scanner.next()
                assert not scanner.mid_frame

    def test_trailing_bytes(self, responses, samples):
        other = next(iter(samples))
        for frame, expected in samples.items():
            assert scan([frame + other[:-1]], responses) == Outcome((expected,), None, len(other) - 1)
            assert scan([frame + b"\xc1"], responses) == Outcome((expected,), (None, BAD_REQUEST), 0)

    def test_each_byte_changed(self, responses, samples):
        """A changed byte gives other frames, a refusal, or a wait for more: the same however it is cut."""
        changes = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF)
        for frame in samples:
            for position in range(min(len(frame), 40)):
                for change in changes:
                    data = bytearray(frame)
                    data[position] ^= change
                    check_against_unpacker(bytes(data), responses)


def check_against_unpacker(data: bytes, responses: bool = False) -> Outcome:
    """Scan ``data`` whole and byte by byte, and compare the frames with where msgpack sees values end."""
    outcome = scan([data], responses)
    assert scan(bytewise(data), responses) == outcome
    unpacker = msgpack.Unpacker(max_buffer_size=1 << 20)
    unpacker.feed(data)
    start = 0
    for found in outcome.frames:
        unpacker.skip()
        assert found.frame == data[start : unpacker.tell()]
        start = unpacker.tell()
    if outcome.refusal is None:
        with pytest.raises(msgpack.OutOfData):
            unpacker.skip()
        assert outcome.buffered_bytes == len(data) - start
    return outcome


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=300)
)
MAP_KEY = st.text(max_size=5) | st.integers(0, 99)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(MAP_KEY, inner, max_size=18),
    max_leaves=40,
)


class TestAgainstMsgpack:
    """The same streams, read by an independent decoder."""

    @given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.text(max_size=70), VALUE), max_size=6), st.data())
    @settings(max_examples=150)
    def test_random_requests(self, calls, data):
        stream = b"".join(pack([0, msgid, method, params]) for msgid, method, params in calls)
        positions = data.draw(st.lists(st.integers(0, max(len(stream), 1)), max_size=12))
        outcome = scan(cut(stream, positions))
        assert outcome.refusal is None
        assert [found.number for found in outcome.frames] == [msgid for msgid, _, _ in calls]
        assert [found.method for found in outcome.frames] == [method.encode() for _, method, _ in calls]
        assert [found.body for found in outcome.frames] == [pack(params) for _, _, params in calls]
        assert b"".join(found.frame for found in outcome.frames) == stream

    @given(
        st.binary(max_size=60), st.sampled_from([b"", b"\x94\x00", PUT_HEAD, PUT_HEAD + b"\x92\xa1k", b"\x93\x02\xa1n"])
    )
    @settings(max_examples=400)
    def test_random_bytes(self, tail, head):
        check_against_unpacker(head + tail)
        check_against_unpacker(head + tail, responses=True)

    @given(st.lists(st.sampled_from(VALUES), max_size=12), st.booleans())
    @settings(max_examples=200)
    def test_random_headers(self, values, as_request):
        check_against_unpacker((PUT_HEAD if as_request else b"\x94") + b"".join(values))


class TestRefusals:
    """What cannot become a lawful frame is refused at once: nothing after the offending header was fed."""

    @pytest.mark.parametrize("head", HOSTILE_HEADS, ids=lambda head: f"{head[0]:#x}")
    @pytest.mark.parametrize(
        ("before", "msgid"),
        [
            (b"\x94\x00\x2a", b"\x2a"),
            (PUT_HEAD, b"\x2a"),
            (b"\x94\x00\xcc\x2a\xa3put", b"\xcc\x2a"),
            (PUT_HEAD + b"\x92", b"\x2a"),
            (PUT_HEAD + b"\x92\xa1k", b"\x2a"),
            (PUT_HEAD + b"\x92\xa1k\x93\x01", b"\x2a"),
            (PUT_HEAD + b"\x92\xa1k\x81", b"\x2a"),
            (b"\x94\x00\x2a\xa5batch\x91\x91\x93\xa3put\xa1k", b"\x2a"),
            (b"\x93\x02", None),
            (b"\x93\x02\xa4note", None),
        ],
        ids=lambda value: value.hex() if value else "none",
    )
    def test_hostile_lengths(self, head, before, msgid):
        assert scan([before + head]) == Outcome((), (msgid, TOO_LARGE), 0)
        assert scan(bytewise(before + head)) == Outcome((), (msgid, TOO_LARGE), 0)

    @pytest.mark.parametrize("before", [b"", b"\x94", b"\x94\x00"], ids=["frame", "type", "msgid"])
    @pytest.mark.parametrize("head", HOSTILE_HEADS, ids=lambda head: f"{head[0]:#x}")
    def test_hostile_lengths_in_the_envelope(self, head, before):
        assert scan([before + head]) == Outcome((), (None, BAD_REQUEST), 0)

    @pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\x81", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01\xc0"])
    @pytest.mark.parametrize("piece_bytes", [1, 1000, 1 << 20])
    def test_deep_nesting(self, opening, piece_bytes):
        stream = PUT_HEAD + opening * 100_000
        pieces = (stream[i : i + piece_bytes] for i in range(0, len(stream), piece_bytes))
        assert scan(pieces, limits=Limits()) == Outcome((), (b"\x2a", TOO_LARGE), 0)

    def test_nesting_at_the_limit(self):
        levels = FRAME_DEPTH_MAX - 1
        assert len(scan([PUT_HEAD + b"\x91" * levels + b"\xc0"]).frames) == 1
        assert scan([PUT_HEAD + b"\x91" * (levels + 1)]).refusal == (b"\x2a", TOO_LARGE)

    def test_a_batch_may_hold_the_deepest_value(self):
        value = b"\x91" * VALUE_NESTING_MAX + b"\xc0"
        frame = b"\x94\x00\x2a\xa5batch\x91\x91\x93\xa3put\xa1k" + value
        assert len(scan([frame]).frames) == 1

    def test_the_byte_that_is_not_messagepack(self):
        for position, msgid in (
            (0, None),
            (1, None),
            (2, None),
            (3, b"\x2a"),
            (7, b"\x2a"),
            (8, b"\x2a"),
            (10, b"\x2a"),
        ):
            frame = bytearray(PUT_HEAD + b"\x92\xa1k\x01")
            frame[position] = 0xC1
            assert scan([bytes(frame[: position + 1])]) == Outcome((), (msgid, BAD_REQUEST), 0), position

    @pytest.mark.parametrize(
        "head",
        [b"\x95", b"\x90", b"\x92", b"\x84", b"\xa4", b"\x05", b"\xc0", b"\xff", b"G", b"\x16"]
        + [b"\xdc\x00\x05", b"\xdd\x00\x00\x00\x00", b"\xde\x00\x04"],
    )
    def test_what_is_no_frame(self, head):
        assert scan([head]) == Outcome((), (None, BAD_REQUEST), 0)

    @pytest.mark.parametrize(
        "kind", [b"\x01", b"\x02", b"\x03", b"\x7f", b"\xff", b"\xc0", b"\xcc", b"\xa1", b"\x90", b"\x91"]
    )
    def test_wrong_type_of_a_request(self, kind):
        assert scan([b"\x94" + kind]) == Outcome((), (None, BAD_REQUEST), 0)

    @pytest.mark.parametrize("kind", [b"\x00", b"\x01", b"\x03", b"\xc0", b"\xa0"])
    def test_wrong_type_of_a_notification(self, kind):
        assert scan([b"\x93" + kind]) == Outcome((), (None, BAD_REQUEST), 0)

    @pytest.mark.parametrize(
        "msgid", [b"\xff", b"\xd0\x01", b"\xcf" + bytes(8), b"\xc0", b"\xa1a", b"\x91", b"\xca", b"\xc4\x00"]
    )
    def test_wrong_msgid(self, msgid):
        assert scan([b"\x94\x00" + msgid]) == Outcome((), (None, BAD_REQUEST), 0)

    @pytest.mark.parametrize("frame", [b"\x94\x00", b"\x94\x02", b"\x93", b"\x95", b"\x92"])
    def test_what_a_server_may_not_send(self, frame):
        assert scan([frame], responses=True) == Outcome((), (None, BAD_REQUEST), 0)

    def test_a_refused_stream_stays_refused(self):
        scanner = Scanner(SMALL)
        scanner.feed(b"\xc1")
        with pytest.raises(FramingError):
            scanner.next()
        scanner.feed(request("ping"))
        assert not scanner.next()
        assert not scanner.mid_frame
        assert scanner.buffered_bytes == 0

    def test_frames_before_the_refusal_are_handed_out(self):
        outcome = scan([request("ping") + request("ping", msgid=b"\x02") + b"\x94\x07"])
        assert [found.number for found in outcome.frames] == [1, 2]
        assert outcome.refusal == (None, BAD_REQUEST)

    def test_the_refusal_tells_what_and_of_which_request(self):
        scanner = Scanner(SMALL)
        scanner.feed(b"\x94\x00\xcd\x12\x34\xa3put\xc6\x00\x10\x00\x00")
        with pytest.raises(FramingError, match="frame is over its limit of 66560 bytes") as raised:
            scanner.next()
        assert raised.value.msgid == b"\xcd\x12\x34"
        assert raised.value.error.code == TOO_LARGE


class TestLimits:
    """The frame limit to the byte, and the memory it bounds."""

    @staticmethod
    def frame_of(size: int, method: str = "put") -> bytes:
        head = b"\x94\x00\x01" + pack(method) + b"\x92\xa1k\xc6"
        return head + (size - len(head) - 4).to_bytes(4, "big") + bytes(size - len(head) - 4)

    def test_at_the_limit(self):
        limit = SMALL.frame_bytes_max
        assert len(scan([self.frame_of(limit)]).frames) == 1
        assert scan([self.frame_of(limit + 1)[:20]]) == Outcome((), (b"\x01", TOO_LARGE), 0)

    @pytest.mark.parametrize("method", ["batch", "mget"])
    def test_batch_and_mget_may_be_larger(self, method):
        limit = SMALL.batch_frame_bytes_max
        assert scan([self.frame_of(limit, method)[:30]]) == Outcome((), None, 30)
        assert scan([self.frame_of(limit + 1, method)[:30]]) == Outcome((), (b"\x01", TOO_LARGE), 0)

    @pytest.mark.parametrize("encoding", [b"\xd9\x05batch", b"\xc4\x05batch", b"\xdb\x00\x00\x00\x05batch"])
    def test_the_larger_limit_holds_for_any_encoding_of_the_name(self, encoding):
        start = b"\x94\x00\x01" + encoding + b"\x91\x91\x93\xa3put\xa1k\xc6\x02\x00\x00\x00"
        assert scan(bytewise(start)).refusal is None

    def test_many_small_items_reach_the_limit_too(self):
        """An element count that could still fit is let in; its items are counted as they come."""
        limit = SMALL.frame_bytes_max
        count = limit - len(PUT_HEAD) - 5
        assert scan([PUT_HEAD + b"\xdd" + (count + 1).to_bytes(4, "big")]).refusal == (b"\x2a", TOO_LARGE)
        scanner = Scanner(SMALL)
        scanner.feed(PUT_HEAD + b"\xdd" + count.to_bytes(4, "big"))
        assert not scanner.next()
        piece = b"\xcc\xff" * 500
        for _ in range(limit // len(piece)):
            scanner.feed(piece)
            assert not scanner.next()
            assert scanner.buffered_bytes <= limit
        scanner.feed(piece)
        with pytest.raises(FramingError):
            scanner.next()
        assert scanner.buffered_bytes == 0

    @given(st.integers(1, 5000), st.integers(5, 60_000))
    @settings(max_examples=40)
    def test_what_waits_is_counted(self, piece_bytes, value_bytes):
        frame = PUT_HEAD + b"\x92\xa1k\xc6" + value_bytes.to_bytes(4, "big") + bytes(value_bytes)
        scanner = Scanner(SMALL)
        fed = 0
        while fed < len(frame):
            piece = frame[fed : fed + piece_bytes]
            scanner.feed(piece)
            fed += len(piece)
            assert scanner.next() == (fed == len(frame))
            assert scanner.buffered_bytes == (0 if fed == len(frame) else fed)

    def test_an_idle_scanner_holds_on_to_nothing(self):
        scanner = Scanner(SMALL)
        piece = request("put", b"k", bytes(1000))
        references = sys.getrefcount(piece)
        scanner.feed(piece)
        assert scanner.next()
        assert scanner.data is piece
        assert not scanner.next()
        assert sys.getrefcount(piece) == references
        assert scanner.data == b""


class TestFields:
    """What the scanner says about a frame."""

    def test_a_whole_frame_is_not_copied(self):
        stream = request("ping") + request("get", b"k", msgid=b"\x02")
        scanner = Scanner(SMALL)
        scanner.feed(stream)
        while scanner.next():
            assert scanner.data is stream

    @pytest.mark.parametrize("method", NOT_METHODS)
    def test_a_method_that_is_no_name_is_for_the_caller_to_refuse(self, method):
        scanner = Scanner(SMALL)
        scanner.feed(b"\x94\x00\x05" + method + b"\x90")
        assert scanner.next()
        assert (scanner.method_start, scanner.msgid) == (-1, b"\x05")

    def test_fields_a_frame_does_not_have(self):
        scanner = Scanner(SMALL)
        scanner.feed(request("ping") + request("ping"))
        while scanner.next():
            assert (scanner.error_start, scanner.result_start) == (-1, -1)
        scanner = Scanner(SMALL, True)
        scanner.feed(b"\x94\x01\x01\xc0\xc0" * 2)
        while scanner.next():
            assert (scanner.method_start, scanner.method_end, scanner.params_start) == (-1, -1, -1)

    def test_msgids_come_back_as_they_were_sent(self):
        outcome = scan([b"".join(request("ping", msgid=msgid) for msgid in MSGIDS)])
        assert [found.msgid for found in outcome.frames] == list(MSGIDS)


class TestLinearity:
    """Time grows with the bytes, not with their square. The bound is a third of what quadratic work would take."""

    @staticmethod
    def seconds(frame: bytes, piece_bytes: int) -> float:
        pieces = [frame[i : i + piece_bytes] for i in range(0, len(frame), piece_bytes)]
        best = float("inf")
        for _ in range(3):
            began = time.thread_time()
            outcome = scan(pieces, limits=Limits())
            best = min(best, time.thread_time() - began)
            assert len(outcome.frames) == 1
        return best

    @pytest.mark.parametrize("piece_bytes", [1, 100], ids=["single bytes", "small pieces"])
    @pytest.mark.parametrize(
        "params",
        [
            lambda size: pack([b"k", bytes(size)]),
            lambda size: b"\xdd" + size.to_bytes(4, "big") + b"\x01" * size,
            lambda size: b"\xdd" + (size // 3).to_bytes(4, "big") + b"\xcd\x01\x02" * (size // 3),
        ],
        ids=["one value", "many items", "items over the cuts"],
    )
    def test_time_by_size(self, params: Callable[[int], bytes], piece_bytes: int):
        small = 4096 if piece_bytes == 1 else 32_768
        factor = 16
        once = self.seconds(PUT_HEAD + params(small), piece_bytes)
        larger = self.seconds(PUT_HEAD + params(small * factor), piece_bytes)
        assert larger < once * factor * factor / 3

    def test_large_frame_in_small_pieces(self):
        frame = PUT_HEAD + pack([b"k", bytes(4 << 20)])
        assert self.seconds(frame, 1024) < 2.0


def test_slack_lengthens_what_a_frame_may_be() -> None:
    limit = SMALL.frame_bytes_max
    frame = b"\x94\x00\x07\xa3put\x92\xa1k\xc6" + (limit - 15 + 1).to_bytes(4, "big") + bytes(limit - 15 + 1)
    for slack, lawful in ((0, False), (1, True)):
        scanner = Scanner(SMALL, False, slack)
        scanner.feed(frame)
        if lawful:
            assert scanner.next()
            assert scanner.frame_end - scanner.frame_start == limit + 1
        else:
            with pytest.raises(FramingError):
                scanner.next()
