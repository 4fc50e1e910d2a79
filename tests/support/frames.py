"""Building MessagePack-RPC frames of every shape, and running a scanner over a cut stream."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgpack

from sherd.common.limits import Limits
from sherd.common.wire.scanner import REQUEST, RESPONSE, FramingError, Scanner

SMALL = Limits(value_bytes_max=1024)
"""Limits with the smallest frame limit there is: 65 KiB."""


@dataclass(frozen=True, slots=True)
class Found:
    """A frame as a scanner described it. ``method`` is None in a response, or if it is neither str nor bin."""

    kind: int
    msgid: bytes
    number: int
    method: bytes | None
    body: bytes
    """The params, or the error followed by the result."""
    frame: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a stream: its frames, then the refusal or None, and the bytes waiting at the end."""

    frames: tuple[Found, ...]
    refusal: tuple[bytes | None, int] | None
    """The msgid's bytes if known, and the error's code."""
    buffered_bytes: int


def found(scanner: Scanner) -> Found:
    """The frame that ``scanner`` stands at."""
    data = scanner.data
    method = data[scanner.method_start : scanner.method_end] if scanner.method_start >= 0 else None
    body_start = scanner.error_start if scanner.kind == RESPONSE else scanner.params_start
    assert 0 <= scanner.frame_start < body_start < scanner.frame_end <= len(data)
    if scanner.kind == RESPONSE:
        assert body_start < scanner.result_start < scanner.frame_end
    return Found(
        scanner.kind,
        scanner.msgid,
        scanner.number,
        method,
        data[body_start : scanner.frame_end],
        data[scanner.frame_start : scanner.frame_end],
    )


def scan(pieces: Iterable[bytes], responses: bool = False, limits: Limits = SMALL) -> Outcome:
    """Feed ``pieces`` to a new scanner and collect what it finds."""
    scanner = Scanner(limits, responses)
    frames = []
    try:
        for piece in pieces:
            scanner.feed(piece)
            while scanner.next():
                frames.append(found(scanner))
    except FramingError as refused:
        assert not scanner.next()
        assert scanner.buffered_bytes == 0
        return Outcome(tuple(frames), (refused.msgid, refused.error.code), 0)
    return Outcome(tuple(frames), None, scanner.buffered_bytes)


def bytewise(data: bytes) -> list[bytes]:
    """``data`` a byte a piece."""
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, positions: Sequence[int]) -> list[bytes]:
    """``data`` cut at ``positions``, which need not be sorted, distinct or within it."""
    edges = [0, *sorted(min(position, len(data)) for position in positions), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def pack(value: object) -> bytes:
    """``value`` as MessagePack."""
    packed: bytes = msgpack.packb(value)
    return packed


def request(method: str | bytes, *params: object, msgid: bytes = b"\x01") -> bytes:
    """A request with ``msgid`` as its encoded bytes."""
    return b"\x94\x00" + msgid + pack(method) + pack(list(params))


MSGIDS = {
    b"\x00": 0,
    b"\x7f": 127,
    b"\xcc\x80": 128,
    b"\xcc\x05": 5,
    b"\xcd\x01\x00": 256,
    b"\xcd\x00\x05": 5,
    b"\xce\xff\xff\xff\xff": 2**32 - 1,
    b"\xce\x00\x00\x00\x05": 5,
}
"""Every encoding a msgid may have, with its number."""

METHODS = {
    b"\xa3get": b"get",
    b"\xd9\x03get": b"get",
    b"\xda\x00\x03get": b"get",
    b"\xdb\x00\x00\x00\x03get": b"get",
    b"\xc4\x03get": b"get",
    b"\xc5\x00\x03get": b"get",
    b"\xc6\x00\x00\x00\x03get": b"get",
    b"\xa0": b"",
    b"\xd9\x40" + b"m" * 64: b"m" * 64,
    b"\xd9\x41" + b"m" * 65: b"m" * 65,
    b"\xda\x03\xe8" + b"m" * 1000: b"m" * 1000,
}
"""Every encoding a method's name may have, with its bytes."""

NOT_METHODS = (
    b"\xc0",
    b"\x07",
    b"\xff",
    b"\xc3",
    b"\x90",
    b"\x80",
    b"\x93\x01\x02\x03",
    b"\x81\xa1a\x01",
    b"\xd4\x01x",
)
"""Encoded values that cannot name a method."""

VALUES = (
    b"\xc0", b"\xc2", b"\xc3", b"\x00", b"\x7f", b"\xe0", b"\xff",
    b"\xcc\xff", b"\xcd\xff\xff", b"\xce" + b"\xff" * 4, b"\xcf" + b"\xff" * 8,
    b"\xd0\x80", b"\xd1\x80\x00", b"\xd2\x80" + bytes(3), b"\xd3\x80" + bytes(7),
    b"\xca\x7f\xc0\x00\x00", b"\xcb\x7f\xf8" + bytes(6),
    b"\xa0", b"\xa3abc", b"\xbf" + b"s" * 31, b"\xd9\x02\xff\xfe", b"\xda\x00\x01x", b"\xdb\x00\x00\x00\x01x",
    b"\xc4\x00", b"\xc4\x01x", b"\xc5\x00\x02xy", b"\xc6\x00\x00\x00\x02xy",
    b"\xd4\x01x", b"\xd5\x01xy", b"\xd6\x01wxyz", b"\xd7\xff" + bytes(8), b"\xd8\x01" + bytes(16),
    b"\xc7\x00\x05", b"\xc7\x02\x05xy", b"\xc8\x00\x01\x05x", b"\xc9\x00\x00\x00\x01\x05x",
    b"\x90", b"\x92\x01\xa1x", b"\xdc\x00\x02\x01\x02", b"\xdd\x00\x00\x00\x01\xc0",
    b"\xdc\x00\x00", b"\xdd" + bytes(4),
    b"\x80", b"\x81\xa1k\x91\x01", b"\xde\x00\x01\x01\x02", b"\xdf\x00\x00\x00\x01\x90\x80",
    b"\xde\x00\x00", b"\xdf" + bytes(4),
)  # fmt: skip
"""One encoded value for every header MessagePack has, valid UTF-8 or not."""


def sample_requests() -> dict[bytes, Found]:
    """Lawful request and notification frames of every shape, with what a scanner is to say about each."""
    samples = {}

    def add(head: bytes, msgid: bytes, number: int, method: bytes, name: bytes | None, params: bytes) -> None:
        kind = REQUEST if msgid else 2
        frame = head + bytes((kind,)) + msgid + method + params
        samples[frame] = Found(kind, msgid, number, name, params, frame)

    for msgid, number in MSGIDS.items():
        add(b"\x94", msgid, number, b"\xa4ping", b"ping", b"\x90")
    for method, name in METHODS.items():
        add(b"\x94", b"\x09", 9, method, name, b"\x91\xa1k")
    for method in NOT_METHODS:
        add(b"\x94", b"\x09", 9, method, None, b"\x91\xa1k")
    for value in VALUES:
        add(b"\x94", b"\x09", 9, b"\xa3put", b"put", b"\x92\xc4\x01k" + value)
        add(b"\x94", b"\x09", 9, b"\xa3put", b"put", value)
    add(b"\xdc\x00\x04", b"\x09", 9, b"\xa4ping", b"ping", b"\x90")
    add(b"\xdd\x00\x00\x00\x04", b"\xcd\x00\x09", 9, b"\xa4ping", b"ping", b"\xdc\x00\x00")
    for head in (b"\x93", b"\xdc\x00\x03", b"\xdd\x00\x00\x00\x03"):
        add(head, b"", 0, b"\xa4note", b"note", b"\x92\x01\x02")
    return samples


def sample_responses() -> dict[bytes, Found]:
    """Lawful response frames, with what a scanner is to say about each."""
    samples = {}
    for msgid, number in MSGIDS.items():
        for error, result in ((b"\xc0", b"\xc4\x03abc"), (pack([4, "CONFLICT", {"version": 7}]), b"\xc0")):
            frame = b"\x94\x01" + msgid + error + result
            samples[frame] = Found(RESPONSE, msgid, number, None, error + result, frame)
    for value in VALUES:
        frame = b"\x94\x01\x09\xc0" + value
        samples[frame] = Found(RESPONSE, b"\x09", 9, None, b"\xc0" + value, frame)
    return samples
