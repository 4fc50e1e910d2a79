"""Both clients, held to the same behaviour by the same tests: commands, errors, retries, timeouts, failover."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from support.faces import Face
from support.scripted_server import Hold, ScriptedServer, cut_after, cut_before, refuse, send_raw

from sherd.common.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    Overloaded,
    Partial,
    StoreClosed,
    Timeout,
    TooLarge,
    Unavailable,
)
from sherd.common.types import Versioned

MakeFace = Callable[..., Face]
OVERLOADED = [20, "OVERLOADED busy", None]
UNAVAILABLE = [21, "UNAVAILABLE no leader", None]
TIMEOUT = [22, "TIMEOUT at the shard", None]


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_every_command(any_server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(any_server.address)
    assert db.ping() == "pong"
    assert db.get("a") is None
    assert db.get("a", 5) == 5
    assert db.put("a", {"n": [1, b"x", None]}) == 1
    assert db.get(b"a") == {"n": [1, b"x", None]}
    assert db.get("a", meta=True) == Versioned({"n": [1, b"x", None]}, 1, None)
    assert db.put("a", 2, if_version=1) == 2
    with pytest.raises(Conflict) as caught:
        db.put("a", 3, if_version=1)
    assert caught.value.version == 2
    assert db.batch([("put", "b", 1), ("put", "c", 2), ("delete", "zz")]) == [3, 4, False]
    assert db.mget(["c", "x", "a"]) == [2, None, 2]
    assert db.delete("c", return_value=True) == 2
    assert db.delete("c", return_value=True) is False
    assert db.delete("c") is False
    assert db.delete("b") is True
    assert db.count() == 1
    assert db.count(prefix="b") == 0
    assert db.status()["version"] == "test"
    assert db.topology() == {"version": 1}
    assert db.flush() == {}
    assert db.compact() == {}


def test_scan_goes_through_pages(any_server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(any_server.address)
    keys = [b"k%03d" % number for number in range(35)]
    db.batch([("put", key, number) for number, key in enumerate(keys)])
    any_server.seen.clear()
    assert db.scan() == list(zip(keys, range(35), strict=True))
    assert any_server.methods() == ["scan"] * 4
    assert db.scan(keys_only=True, reverse=True) == keys[::-1]
    assert db.scan("k010", "k030", limit=13, keys_only=True) == keys[10:23]
    assert db.scan(prefix="k01", keys_only=True) == keys[10:20]
    any_server.seen.clear()
    assert db.scan(limit=10, keys_only=True) == keys[:10]
    assert len(any_server.seen) == 1
    for limit in (0, -1):
        with pytest.raises(BadRequest, match="limit"):
            db.scan(limit=limit)


def test_keys_come_back_decoded_if_asked(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address, key_encoding="utf-8")
    db.put("ключ", 1)
    assert db.scan() == [("ключ", 1)]


def test_replies_in_single_bytes(server: ScriptedServer, make_face: MakeFace) -> None:
    server.piece_bytes = 1
    db = make_face(server.address)
    db.put("k", "v" * 300)
    assert db.get("k") == "v" * 300
    assert db.mget(["k"] * 5) == ["v" * 300] * 5


def test_large_values(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    value = bytes(range(256)) * 20_000
    db.put("k", value)
    assert db.get("k") == value


@pytest.mark.parametrize("error", [OVERLOADED, UNAVAILABLE, "OVERLOADED busy"])
def test_what_was_not_executed_is_tried_again(server: ScriptedServer, make_face: MakeFace, error: Any) -> None:
    db = make_face(server.address)
    server.script(refuse(error), refuse(error))
    assert db.put("k", 1) == 1
    assert server.methods() == ["put"] * 3
    assert server.connections == 1


def test_retries_end_with_the_timeout_and_the_last_error(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    server.script(*[refuse(OVERLOADED)] * 100)
    began = time.monotonic()
    with pytest.raises(Overloaded, match="busy"):
        db.put("k", 1, timeout=0.3)
    assert time.monotonic() - began < 5
    assert 2 < len(server.seen) < 30


def test_without_retry_everything_is_tried_once(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address, retry=False)
    db.ping()
    server.script(refuse(OVERLOADED), cut_before)
    with pytest.raises(Overloaded):
        db.get("k")
    with pytest.raises(Unavailable):
        db.get("k")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ([1, "BAD_REQUEST field", None], BadRequest),
        ([3, "TOO_LARGE value", None], TooLarge),
        ([5, "PARTIAL", {"done": [0], "failed": [[1, 4, "no"]], "unknown": [2]}], Partial),
    ],
)
def test_other_errors_are_raised_at_once(
    server: ScriptedServer, make_face: MakeFace, error: Any, kind: type[Exception]
) -> None:
    db = make_face(server.address)
    server.script(refuse(error))
    with pytest.raises(kind) as caught:
        db.batch([("put", "k", 1)])
    if isinstance(caught.value, Partial):
        assert (caught.value.done, caught.value.failed, caught.value.unknown) == ([0], [(1, 4, "no")], [2])
    assert len(server.seen) == 1
    assert db.ping() == "pong"
    assert server.connections == 1


@pytest.mark.parametrize(("method", "args"), [("put", ("k", 1)), ("delete", ("k",)), ("batch", ([("put", "k", 1)],))])
@pytest.mark.parametrize("act", [cut_before, cut_after, refuse(TIMEOUT)])
def test_a_write_of_unknown_outcome_is_never_repeated(
    server: ScriptedServer, make_face: MakeFace, method: str, args: Any, act: Any
) -> None:  # FAULTS 24
    db = make_face(server.address)
    db.ping()
    server.seen.clear()
    server.script(act)
    with pytest.raises(Timeout):
        getattr(db, method)(*args)
    assert server.methods() == [method]
    assert db.ping() == "pong"


@pytest.mark.parametrize(
    ("method", "args"),
    [("get", ("k",)), ("mget", (["k"],)), ("count", ()), ("scan", ()), ("status", ()), ("flush", ())],
)
@pytest.mark.parametrize("act", [cut_before, refuse(TIMEOUT)])
def test_reads_are_repeated(server: ScriptedServer, make_face: MakeFace, method: str, args: Any, act: Any) -> None:
    db = make_face(server.address)
    db.ping()
    server.seen.clear()
    server.script(act)
    getattr(db, method)(*args)
    assert server.methods() == [method] * 2


def test_timeout_and_late_reply(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    db.put("k", "old")
    hold = Hold()
    server.script(hold)
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        db.put("k", "new", timeout=0.1)
    assert isinstance(caught.value, Timeout)
    assert 0.05 < time.monotonic() - began < 5
    assert db.get("k") == "old"
    hold.release()
    assert db.get("k", timeout=5) in ("old", "new")
    assert [db.get(f"missing {n}", n) for n in range(20)] == list(range(20))


def test_an_unreachable_server_is_told_at_once(free_port: int, make_face: MakeFace) -> None:
    db = make_face(f"127.0.0.1:{free_port}")
    began = time.monotonic()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{free_port}"):
        db.put("k", 1)
    assert time.monotonic() - began < 5


def test_a_missing_socket_is_told_at_once(make_face: MakeFace) -> None:
    with pytest.raises(Unavailable, match="unix:/nowhere/at/all"):
        make_face("unix:/nowhere/at/all").ping()


def test_a_server_that_comes_back_is_waited_for(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    db.put("k", 1)
    server.stop()
    with pytest.raises(Unavailable):
        db.put("k", 2, timeout=0.2)
    server.start()
    assert db.put("k", 3) == 2
    server.stop()
    server.start()
    assert db.put("k", 4) == 3
    assert db.get("k") == 4


def test_failover_between_addresses(server: ScriptedServer, make_face: MakeFace, free_port: int) -> None:
    other = ScriptedServer()
    try:
        db = make_face([f"127.0.0.1:{free_port}", server.address, other.address])
        assert db.put("k", 1) == 1
        here, there = (server, other) if server.seen else (other, server)
        here.stop()
        assert [db.put("k", number) for number in (2, 3)] == [1, 2]
        assert there.methods() == ["put"] * 2
        here.start()
        there.stop()
        assert db.put("k", 4) == 2
    finally:
        other.close()


@pytest.mark.parametrize("junk", [b"\xc1", b"HTTP/1.1 400 Bad Request\r\n\r\n", msgpack.packb([2, "hello", []])])
def test_a_server_that_breaks_the_protocol(server: ScriptedServer, make_face: MakeFace, junk: bytes) -> None:
    db = make_face(server.address)
    server.script(send_raw(lambda _: junk))
    with pytest.raises(Timeout, match="unknown"):
        db.put("k", 1)
    server.script(send_raw(lambda _: junk))
    assert db.get("k") is None
    assert server.connections == 3


def test_a_value_that_cannot_be_decoded_spoils_nothing_else(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    bad = b"\x81\x91\x01\x02"
    server.script(send_raw(lambda msgid: msgpack.packb([1, msgid, None, None])[:-1] + bad))
    with pytest.raises(TypeError):
        db.get("k")
    assert db.ping() == "pong"
    assert server.connections == 1


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_timeouts_are_checked(make_face: MakeFace, timeout: float) -> None:
    db = make_face("127.0.0.1:1")
    with pytest.raises(BadRequest, match="timeout"):
        db.ping(timeout=timeout)
    with pytest.raises(BadRequest, match="timeout"):
        make_face("127.0.0.1:1", timeout=timeout)


def test_no_timeout_at_all(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address, timeout=float("inf"))
    assert db.put("k", 1) == 1
    assert db.get("k", timeout=float("inf")) == 1
    assert db.pipeline(lambda p: p.get("k")) == [1]


def test_settings_are_checked(make_face: MakeFace) -> None:
    for address in ("", "::1", "host:port"):
        with pytest.raises(ConfigError):
            make_face(address)


def test_closed(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    db.ping()
    db.close_client()
    with pytest.raises(StoreClosed):
        db.ping()
    assert "closed" in repr(db.client)
