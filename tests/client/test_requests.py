"""What each command sends, what it refuses before sending, and how results are read."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherd.client.requests import Commands, check_limit, prefix_end
from sherd.common.codec import Codec, JsonEncoder
from sherd.common.errors import BadRequest, ConfigError, TooLarge
from sherd.common.types import At, Versioned, Written

plain: Any = Commands(Codec())  # also called with what its types forbid


@pytest.mark.parametrize(
    ("request_", "method", "params"),
    [
        (plain.get("k"), "get", (b"k",)),
        (plain.get("k", meta=True), "get", (b"k", {"meta": True})),
        (plain.put("ключ", 5), "put", ("ключ".encode(), 5)),
        (plain.put(b"k", 5, ttl=2), "put", (b"k", 5, {"ttl": 2.0})),
        (plain.put(b"k", 5, if_version=0, sync=True), "put", (b"k", 5, {"if_version": 0, "sync": True})),
        (plain.delete(bytearray(b"k")), "delete", (b"k",)),
        (plain.delete(memoryview(b"k"), if_version=3), "delete", (b"k", {"if_version": 3})),
        (plain.delete("k", return_value=True), "delete", (b"k", {"return": True})),
        (plain.mget(iter(["a", b"b"])), "mget", ([b"a", b"b"],)),
        (plain.mget([], meta=True), "mget", ([], {"meta": True})),
        (
            plain.batch([("put", "a", 1), ["delete", "b"], ("put", "c", 2, {"ttl": 1}), ("delete", "d", None)]),
            "batch",
            ([("put", b"a", 1), ("delete", b"b"), ("put", b"c", 2, {"ttl": 1.0}), ("delete", b"d")],),
        ),
        (plain.batch([], sync=True), "batch", ([], {"sync": True})),
        (plain.scan_first("a", None), "scan", (b"a", None, {})),
        (
            plain.scan_first(None, b"z", prefix="p", reverse=True, limit=5, keys_only=True, page_bytes=100),
            "scan",
            (None, b"z", {"limit": 5, "keys_only": True, "max_bytes": 100, "reverse": True, "prefix": b"p"}),
        ),
        (plain.scan_first("", b"", prefix=""), "scan", (None, None, {})),
        (plain.scan_next(b"cur", limit=2), "scan", (None, None, {"limit": 2, "cursor": b"cur"})),
        (plain.count(), "count", (None, None)),
        (plain.count("a", "b"), "count", (b"a", b"b")),
        (plain.count(prefix="user:"), "count", (b"user:", b"user;")),
        (plain.count("user:b", "v", prefix="user:"), "count", (b"user:b", b"user;")),
        (plain.count("a", "user:c", prefix="user:"), "count", (b"user:", b"user:c")),
        (plain.count(None, b"\xff\xff\xff", prefix=b"\xff\xff"), "count", (b"\xff\xff", b"\xff\xff\xff")),
        (plain.count(prefix=b"\xff"), "count", (b"\xff", None)),
        (plain.get("k", stale_ms=5, at=At(1, 2, 3)), "get", (b"k", {"stale_ms": 5, "at": [1, 2, 3]})),
        (plain.get("k", meta=True, at=[1, 2, 3]), "get", (b"k", {"meta": True, "at": [1, 2, 3]})),
        (plain.mget(["k"], stale_ms=5), "mget", ([b"k"], {"stale_ms": 5})),
        (plain.count(stale_ms=5), "count", (None, None, {"stale_ms": 5})),
        (plain.scan_first(None, None, stale_ms=5), "scan", (None, None, {"stale_ms": 5})),
        (plain.scan_next(b"cur", at=(1, 2, 3)), "scan", (None, None, {"at": [1, 2, 3], "cursor": b"cur"})),
        (plain.put("k", 1, acks="insync"), "put", (b"k", 1, {"acks": "insync"})),
        (plain.delete("k", acks="leader", meta=True), "delete", (b"k", {"acks": "leader", "meta": True})),
        (plain.batch([], acks="insync", meta=True), "batch", ([], {"acks": "insync", "meta": True})),
        (plain.ping(), "ping", ()),
        (plain.status(), "status", ()),
        (plain.topology(), "topology", ()),
        (plain.flush(), "flush", ()),
        (plain.compact(), "compact", ()),
    ],
)
def test_what_is_sent(request_: Any, method: str, params: tuple[Any, ...]) -> None:
    assert (request_.method, request_.params) == (method, params)
    assert request_.repeatable == (method not in ("put", "delete", "batch"))


@pytest.mark.parametrize(
    ("make", "error", "word"),
    [
        (lambda: plain.get(""), BadRequest, "empty"),
        (lambda: plain.get(b"x" * 4097), TooLarge, "4096"),
        (lambda: plain.get("\ud800"), BadRequest, "utf-8"),
        (lambda: plain.get(5), TypeError, "int"),
        (lambda: plain.get(None), TypeError, "NoneType"),
        (lambda: plain.put("k", None), BadRequest, "None"),
        (lambda: plain.put("k", 1, ttl=0), BadRequest, "ttl"),
        (lambda: plain.put("k", 1, ttl=-1), BadRequest, "ttl"),
        (lambda: plain.put("k", 1, ttl=math.nan), BadRequest, "ttl"),
        (lambda: plain.put("k", 1, ttl=math.inf), BadRequest, "ttl"),
        (lambda: plain.put("k", 1, ttl="1"), TypeError, "ttl"),
        (lambda: plain.put("k", 1, ttl=True), TypeError, "ttl"),
        (lambda: plain.put("k", 1, if_version=-1), BadRequest, "if_version"),
        (lambda: plain.put("k", 1, if_version=2**64), BadRequest, "if_version"),
        (lambda: plain.put("k", 1, if_version=1.0), TypeError, "if_version"),
        (lambda: plain.delete("k", if_version=False), TypeError, "if_version"),
        (lambda: plain.mget("abc"), TypeError, "one str"),
        (lambda: plain.mget([b"k"] * 100_001), TooLarge, "100000"),
        (lambda: plain.mget(["a", ""]), BadRequest, "empty"),
        (lambda: plain.batch(["put"]), TypeError, "operation 0"),
        (lambda: plain.batch([("put", "a", 1), ()]), TypeError, "operation 1"),
        (lambda: plain.batch([("get", "a")]), BadRequest, "'get'"),
        (lambda: plain.batch([("put", "a")]), BadRequest, "1 arguments"),
        (lambda: plain.batch([("delete", "a", {}, {})]), BadRequest, "3 arguments"),
        (lambda: plain.batch([("put", "a", None)]), BadRequest, "None"),
        (lambda: plain.batch([("put", "a", 1, [1])]), TypeError, "options"),
        (lambda: plain.batch([("put", "a", 1, {"tll": 1})]), BadRequest, "'tll'"),
        (lambda: plain.batch([("delete", "a", {"ttl": 1})]), BadRequest, "'ttl'"),
        (lambda: plain.batch([("delete", "a")] * 100_001), TooLarge, "100000"),
        (lambda: plain.scan_first("a", "b", page_bytes=0), BadRequest, "page_bytes"),
        (lambda: plain.scan_first("a", "b", page_bytes=5 * 2**20), BadRequest, "page_bytes"),
        (lambda: check_limit(-1), BadRequest, "limit"),
        (lambda: check_limit("1"), TypeError, "limit"),  # type: ignore[arg-type]
        (lambda: plain.get("k", stale_ms=0), BadRequest, "stale_ms"),
        (lambda: plain.get("k", stale_ms=1.5), TypeError, "stale_ms"),
        (lambda: plain.get("k", at=3), TypeError, "at is"),
        (lambda: plain.get("k", at=(1, 2)), TypeError, "at is"),
        (lambda: plain.mget(["k"], at=(1, 2, -1)), BadRequest, "at"),
        (lambda: plain.put("k", 1, acks="all"), BadRequest, "acks"),
    ],
)
def test_what_is_refused_before_sending(make: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        make()


def test_reading() -> None:
    assert plain.get("k", "none").read(None) == "none"
    assert plain.get("k", "none").read(False) is False
    assert plain.get("k", "none", meta=True).read(None) == "none"
    assert plain.get("k", meta=True).read([5, 77, 1.5]) == Versioned(5, 77, 1.5)
    assert plain.mget(["a", "b"], meta=True).read([None, [1, 2, None]]) == [None, Versioned(1, 2, None)]
    assert plain.delete("k", return_value=True).read(False) is False
    assert plain.delete("k", return_value=True).read({"old": 1}) == {"old": 1}
    page = plain.scan_first(None, None).read([[[b"a", 1], [b"b", 2]], b"cursor"])
    assert page == ([(b"a", 1), (b"b", 2)], b"cursor")
    assert plain.scan_first(None, None, keys_only=True).read([[b"a"], None]) == ([b"a"], None)


def test_reading_what_a_write_with_meta_tells() -> None:
    at = At(1, 2, 3)
    assert plain.put("k", 1, meta=True).read([7, [1, 2, 3]]) == Written(7, at)
    assert plain.delete("k", meta=True).read([False, [1, 2, 3]]) == Written(False, at)
    assert plain.delete("k", return_value=True, meta=True).read([{"a": 1}, [1, 2, 3]]) == Written({"a": 1}, at)
    assert plain.batch([], meta=True).read([[7, [1, 2, 3]], [True, [1, 2, 3]]]) == [Written(7, at), Written(True, at)]
    encoded = Commands(Codec(None, JsonEncoder()))
    assert encoded.delete("k", return_value=True, meta=True).read([b"[1]", [1, 2, 3]]).result == [1]


def test_an_encoder_replaces_messagepack() -> None:
    commands = Commands(Codec(encoder=JsonEncoder()))
    assert commands.put("k", {"é": [1]}).params == (b"k", '{"é":[1]}'.encode())
    assert commands.batch([("put", "k", [1])]).params == ([("put", b"k", b"[1]")],)
    assert commands.get("k").read(b'{"a":1}') == {"a": 1}
    assert commands.get("k").read("written by somebody else") == "written by somebody else"
    assert commands.mget(["a", "b"]).read([b"1", None]) == [1, None]
    assert commands.scan_first(None, None).read([[[b"a", b"1"]], None]).rows == [(b"a", 1)]
    assert commands.delete("k", return_value=True).read(b"[2]") == [2]
    assert commands.delete("k", return_value=True).read(b"false") is False
    assert commands.delete("k", return_value=True).read(False) is False
    with pytest.raises(ValueError, match="Expecting"):
        commands.get("k").read(b"no json")
    with pytest.raises(BadRequest):
        commands.put("k", None)


def test_key_encoding() -> None:
    latin = Commands(Codec("latin-1"))
    assert latin.get("é").params == (b"\xe9",)
    assert latin.scan_first(None, None, keys_only=True).read([[b"\xe9"], None]).rows == ["é"]
    with pytest.raises(BadRequest, match="latin"):
        latin.get("ключ")
    with pytest.raises(ConfigError, match="klingon"):
        Codec("klingon")


@given(st.binary(min_size=1, max_size=50))
def test_keys_that_are_no_text_come_back_to_the_same_entry(key: bytes) -> None:
    codec = Codec("utf-8")
    assert codec.key(codec.read_key(key)) == key


@given(st.binary(max_size=6), st.lists(st.binary(max_size=8)))
def test_the_end_of_a_prefix(prefix: bytes, keys: list[bytes]) -> None:
    end = prefix_end(prefix)
    for key in [*keys, prefix, prefix + b"\xff" * 3, prefix + b"\0"]:
        in_range = key >= prefix and (end is None or key < end)
        assert in_range == key.startswith(prefix)
