"""Pipelines of both clients: order, windows, errors, and what is known when the connection breaks midway."""

from collections.abc import Callable
from typing import Any

import pytest
from support.faces import Face
from support.scripted_server import Hold, ScriptedServer, cut_after, cut_before, refuse, usual

from sherd.common.errors import BadRequest, Conflict, Overloaded, Timeout, Unavailable

MakeFace = Callable[..., Face]
OVERLOADED = [20, "OVERLOADED busy", None]


def test_pipeline_results_are_in_order(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)

    def fill(p: Any) -> None:
        p.put("a", 1)
        p.put("b", 2, if_version=0)
        p.get("a")
        p.get("none", "default")
        p.mget(["b", "a"])
        p.delete("a")
        p.delete("b", return_value=True)
        p.delete("b", return_value=True)
        p.batch([("put", "c", 3)])
        p.count()
        p.ping()

    assert db.pipeline(fill) == [1, 2, 1, "default", [2, 1], True, 2, False, [3], 1, "pong"]
    assert server.connections == 1


def test_a_long_pipeline(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address, timeout=60)
    count = 6_000
    versions = db.pipeline(lambda p: [p.put(b"k%d" % n, b"v" * 100) for n in range(count)])
    assert versions == list(range(1, count + 1))
    assert db.pipeline(lambda p: [p.get(b"k%d" % n) for n in range(count)]) == [b"v" * 100] * count


def test_a_pipeline_larger_than_any_buffer(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address, timeout=60)
    value = b"x" * 1_000_000
    assert db.pipeline(lambda p: [p.put("k", value) for _ in range(20)]) == list(range(1, 21))
    assert db.pipeline(lambda p: [p.get("k") for _ in range(20)]) == [value] * 20


def test_pipeline_errors(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)

    def fill(p: Any) -> None:
        p.put("a", 1, if_version=7)
        p.put("a", object())
        p.put("a", 2)

    first, second, third = db.pipeline(fill, raise_on_error=False)
    assert isinstance(first, Conflict)
    assert isinstance(second, TypeError)
    assert third == 1
    with pytest.raises(Conflict):
        db.pipeline(fill)
    assert db.get("a") == 2
    server.seen.clear()
    server.script(refuse(OVERLOADED))
    outcomes = db.pipeline(lambda p: [p.put("a", 3), p.put("a", 4)], raise_on_error=False)
    assert isinstance(outcomes[0], Overloaded)  # trying it again would put 3 after 4
    assert db.get("a") == 4


def test_pipeline_of_nothing(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    assert db.pipeline(lambda p: None) == []


def test_pipeline_cut_short(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    db.ping()
    server.seen.clear()
    server.script(usual, usual, cut_after)
    outcomes = db.pipeline(lambda p: [p.put("k", n) for n in range(5)], raise_on_error=False)
    assert outcomes[:2] == [1, 2]
    assert all(isinstance(outcome, Timeout) for outcome in outcomes[2:])
    assert server.data[b"k"] == (2, 3)
    server.script(usual, cut_before)
    assert db.pipeline(lambda p: [p.get("k") for _ in range(5)]) == [2] * 5


def test_pipeline_with_a_read_and_a_write_cut_short(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    db.ping()
    server.script(cut_before)
    outcomes = db.pipeline(lambda p: [p.get("k"), p.put("k", 1)], raise_on_error=False)
    assert isinstance(outcomes[0], Unavailable)
    assert isinstance(outcomes[1], Timeout)


def test_pipeline_times_out(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    hold = Hold()
    server.script(usual, hold)
    outcomes = db.pipeline(lambda p: [p.put("a", 1), p.put("b", 1), p.put("c", 1)], timeout=0.15, raise_on_error=False)
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], Timeout)
    hold.release()
    assert [db.get(f"missing {n}", n) for n in range(5)] == list(range(5))


def test_pipeline_to_a_server_that_comes_back(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    db.ping()
    server.stop()
    outcomes = db.pipeline(lambda p: [p.put("k", 1), p.get("k")], timeout=0.2, raise_on_error=False)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    server.start()
    assert db.pipeline(lambda p: [p.put("k", 1), p.get("k")]) == [1, 1]


def test_pipelines_are_used_once(server: ScriptedServer, make_face: MakeFace) -> None:
    db = make_face(server.address)
    kept: list[Any] = []

    def fill(p: Any) -> None:
        kept.extend((p, p.get("k", "none")))
        with pytest.raises(BadRequest, match="not executed"):
            kept[1].result()

    db.pipeline(fill)
    assert kept[1].result() == "none"
    assert len(kept[0]) == 1
    with pytest.raises(BadRequest, match="was executed"):
        kept[0].get("k")
