"""The params of scan and count: what is refused and what it means."""

from typing import Any

import msgpack
import pytest

from sherd.common.errors import BadRequest, TooLarge, WireError
from sherd.proxy.cursor import Cursor
from sherd.proxy.scan_request import LIMIT_MAX, read_count, read_scan

pytestmark = pytest.mark.core

CURSOR = Cursor(b"k", b"z", True, True).encode()


def packed(*params: object) -> bytes:
    found: bytes = msgpack.packb(list(params))
    return found


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ([], "params"),
        ([None], "params"),
        ([None, None, {}, 1], "params"),
        ([1, None], "start"),
        ([None, [b"x"]], "end"),
        ([None, None, []], "options"),
        ([None, None, {"limit": 0}], "limit"),
        ([None, None, {"limit": -1}], "limit"),
        ([None, None, {"limit": 1.5}], "limit"),
        ([None, None, {"limit": True}], "limit"),
        ([None, None, {"limit": None}], "limit"),
        ([None, None, {"max_bytes": -5}], "max_bytes"),
        ([None, None, {"max_bytes": "1"}], "max_bytes"),
        ([None, None, {"reverse": 1}], "reverse"),
        ([None, None, {"prefix": 1}], "prefix"),
        ([None, None, {"keys_only": "yes"}], "keys_only"),
        ([None, None, {"deadline_ms": 0}], "deadline_ms"),
        ([None, None, {"colour": 1}], "colour"),
        ([None, None, {1: 1}], "option"),
        ([b"a", None, {"cursor": CURSOR}], "start"),
        ([None, b"a", {"cursor": CURSOR}], "start"),
        ([None, None, {"cursor": CURSOR, "reverse": False}], "reverse"),
        ([None, None, {"cursor": CURSOR, "prefix": b""}], "prefix"),
        ([None, None, {"cursor": b"junk"}], "cursor"),
        ([None, None, {"cursor": 7}], "cursor"),
    ],
)
def test_refused(params: list[Any], field: str) -> None:
    with pytest.raises(BadRequest, match=field):
        read_scan(packed(*params))


@pytest.mark.parametrize(
    "params",
    [b"", b"\x93\xc0\xc0\x82\xa5limit\x01\xa5limit\x02", b"\x92\xc0\xc7\x01\x05x", b"\x92\xc0\xd6\xff\xff\xff\xff\xff",
     b"\x80", b"\xc0", b"\x93\xc0\xc0\x81\x90\x01", b"\x93\xc0\xc0\x81\x80\x80", b"\x92\xc0", b"\x92\xc0\xc0\xc0"],
)  # fmt: skip
def test_hostile_params(params: bytes) -> None:
    with pytest.raises(BadRequest):
        read_scan(params)


def test_too_large() -> None:
    with pytest.raises(TooLarge, match="start"):
        read_scan(packed(b"x" * 4098, None))
    with pytest.raises(TooLarge, match="params"):
        read_scan(packed(None, None, {"prefix": b"x" * 70_000}))


def test_count_takes_no_scan_options() -> None:
    assert read_count(packed("a", "b", {"deadline_ms": 10})).deadline_ms == 10
    with pytest.raises(WireError, match="limit"):
        read_count(packed(None, None, {"limit": 3}))


@pytest.mark.parametrize(
    ("start", "end", "prefix", "expected"),
    [
        (None, None, b"user:", (b"user:", b"user;")),
        (b"user:5", None, b"user:", (b"user:5", b"user;")),
        (b"a", b"user:3", b"user:", (b"user:", b"user:3")),
        (b"x", b"a", b"b", (b"x", b"a")),
        (None, None, b"a\xff\xff", (b"a\xff\xff", b"b")),
        (None, None, b"\xff\xff", (b"\xff\xff", None)),
        (None, b"m", b"", (None, b"m")),
    ],
)
def test_prefix_intersects(
    start: bytes | None, end: bytes | None, prefix: bytes, expected: tuple[bytes | None, bytes | None]
) -> None:
    found = read_scan(packed(start, end, {"prefix": prefix}))
    assert (found.start, found.end) == expected


def test_bounds_are_lowered_to_what_there_can_be() -> None:
    found = read_scan(packed(None, None, {"limit": 2**63, "max_bytes": 2**40}))
    assert (found.limit, found.max_bytes) == (LIMIT_MAX, 4 * 1024 * 1024)


def test_cursor_carries_the_scan() -> None:
    found = read_scan(packed(None, None, {"cursor": CURSOR, "limit": 5}))
    assert (found.start, found.end, found.reverse, found.keys_only, found.limit) == (b"k", b"z", True, True, 5)
