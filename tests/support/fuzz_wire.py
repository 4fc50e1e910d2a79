"""Fuzz targets of the wire: the scanner both ways, the request reader, the primitives."""

import msgpack

from sherd.common.errors import BadRequest, TooLarge
from sherd.common.wire.primitives import payload, value_end
from sherd.common.wire.requests import RequestReader
from support.frames import SMALL, VALUES, bytewise, cut, pack, sample_requests, sample_responses, scan
from support.mutation import Target


def scan_answer(data: bytes, responses: bool) -> object:
    """Frames, refusal and rest, which must not depend on the cut."""
    outcome = scan([data], responses)
    assert scan(bytewise(data), responses) == outcome
    assert scan(cut(data, [len(data) // 3, len(data) // 2]), responses) == outcome
    assert (
        b"".join(found.frame for found in outcome.frames) == data[: sum(len(found.frame) for found in outcome.frames)]
    )
    for found in outcome.frames:
        assert value_end(found.frame, 0, 200) == len(found.frame)
    return (
        [(found.kind, found.method is None) for found in outcome.frames[:4]],
        outcome.refusal,
        outcome.buffered_bytes > 0,
    )


def read_answer(data: bytes) -> object:
    """What each method's reader says; whatever it takes lies inside the data."""
    answers: list[object] = []
    reader = RequestReader(SMALL)
    for method in (reader.read_get, reader.read_put, reader.read_delete, reader.read_mget, reader.read_batch):
        try:
            taken = method(data, 0, len(data))
        except (BadRequest, TooLarge) as error:
            answers.append(error)
            continue
        assert -1 <= reader.value_start <= reader.value_end <= len(data)
        assert -1 <= reader.options_start <= reader.options_end <= len(data)
        answers.append((len(taken or ()) > 0, reader.ttl_ms > 0, reader.if_version is None, reader.sync, reader.meta))
    return answers


def walk_answer(data: bytes) -> object:
    """Where the first value ends, as msgpack sees it too."""
    end = value_end(data, 0, 100)
    text = payload(data, 0)
    assert text is None or (end >= 0 and data[:end].endswith(text))
    if data.startswith(b"\xc9\xff\xff\xff\xff"):  # msgpack's own length counter wraps to 0 here
        assert end == -1
        return end
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    try:
        unpacker.skip()
    except (msgpack.OutOfData, msgpack.FormatError, msgpack.StackError) as error:
        assert end == -1
        return type(error)
    assert end in (-1, unpacker.tell())
    return end >= 0, data[0] >> 2


PARAMS = (
    pack(["k", {"deadline_ms": 5, "meta": True}]),
    pack(["k", "value", {"sync": True, "ttl": 1.5, "if_version": 7}]),
    pack([b"k", {"return": True, "if_version": 0}]),
    pack([["a", "b", b"c"], {"meta": False}]),
    pack([[["put", "a", 1, {"ttl": 2, "if_version": 3}], ["delete", b"b", {"if_version": 2**64 - 1}]], {"sync": True}]),
)

TARGETS = (
    Target("scanner of requests", tuple(sample_requests()), lambda data: scan_answer(data, False)),
    Target("scanner of responses", tuple(sample_responses()), lambda data: scan_answer(data, True)),
    Target("request reader", PARAMS, read_answer),
    Target("primitives", (*VALUES, *PARAMS), walk_answer),
)
