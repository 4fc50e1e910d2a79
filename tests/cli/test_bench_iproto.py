"""`sherd bench --protocol iproto` against a scripted Tarantool: replies in any order, errors, wrong answers."""

import json

import pytest
from support.iproto_server import IprotoServer, reply, rows, with_error, with_rows

pytestmark = pytest.mark.core

KEY = "0" * 16


@pytest.fixture
def server():
    with IprotoServer() as running:
        yield running


@pytest.fixture
def bench(command, server):
    """Run `sherd bench` with 2 connections; its exit code, its report."""

    def run(workload, *flags):
        result = command(
            "bench", "--connect", server.address, "--protocol", "iproto", "--workload", workload, "--json",
            "--connections", 2, "--warmup", 0, "--keys", 50, *flags,
        )  # fmt: skip
        return result.code, json.loads(result.out)

    return run


@pytest.mark.parametrize("workload", ["set", "get", "mixed", "scan", "a", "b", "c", "d", "e", "f"])
def test_every_workload(bench, server, workload):
    code, report = bench("load", "--value-bytes", "uniform:1-300")
    assert (code, report["requests"], len(server.data)) == (0, 50, 50)
    code, report = bench(
        workload, "--requests", 200, "--pipeline", 7, "--scan-rows", 20, "--value-bytes", "uniform:1-300"
    )
    assert (code, report["errors"], report["missing"], report["requests"]) == (0, 0, 0, 200)
    assert (len(server.data) > 50) == (workload in ("d", "e"))
    assert sorted(server.data) == [f"{i:016d}" for i in range(len(server.data))]
    if workload == "scan":
        asked = (int(body[0x20][0]) for _, body in server.requests[50:])
        assert report["rows"] == sum(min(20, 50 - first) for first in asked)


def test_replies_in_another_order_are_those_of_their_requests(bench, server):
    """Were they taken in the order of requests, every value would be another key's."""
    bench("load", "--pipeline", 25, "--connections", 1)
    code, report = bench("get", "--requests", 100, "--pipeline", 25, "--connections", 1)
    assert (code, report["errors"], report["requests"]) == (0, 0, 100)
    assert len({header[1] for header, _ in server.requests}) == 25


def test_large_values_in_pieces(bench):
    assert bench("load", "--value-bytes", 300_000, "--keys", 8)[0] == 0
    code, report = bench("get", "--value-bytes", 300_000, "--keys", 8, "--requests", 20, "--pipeline", 3)
    assert (code, report["errors"], report["missing"]) == (0, 0, 0)
    assert bench("load", "--value-bytes", 70_000, "--keys", 8)[0] == 0
    assert bench("scan", "--value-bytes", 70_000, "--keys", 8, "--requests", 4)[0] == 0


def test_missing_keys_are_counted_and_no_errors(bench):
    code, report = bench("get", "--requests", 100)
    assert (code, report["missing"], report["errors"]) == (0, 100, 0)


def test_another_space(bench):
    code, report = bench("get", "--requests", 10, "--space", 513)
    assert (code, report["errors"]) == (4, 10)
    assert report["first_error"] == "Space '#513' does not exist (error 36)"


@pytest.mark.parametrize(
    ("workload", "act", "problem"),
    [
        ("get", lambda answer: with_error(answer, 0x8000 + 42, "Execute access denied"), "access denied (error 42)"),
        ("set", lambda answer: with_error(answer, 0x8000 + 21, "Can't modify"), "Can't modify (error 21)"),
        ("get", lambda answer: with_error(answer, 0x80, "a push"), "an answer with the code 128"),
        ("get", lambda answer: with_rows(answer, [[KEY, b"x" * 100]] * 2), "2 rows for one key"),
        ("get", lambda answer: answer.replace(b"\xc4\x64", b"\xd9\x64"), "wrong value of key"),  # a text
        ("get", lambda answer: with_rows(answer, [["1" * 16, b"x" * 100]]), "is another key's"),
        ("get", lambda answer: with_rows(answer, [["x", b"x" * 100]]), "is another key's"),
        ("get", lambda answer: with_rows(answer, [[KEY]]), "is another key's"),
        ("get", lambda answer: with_rows(answer, [7]), "is another key's"),
        ("get", lambda answer: with_rows(answer, 7), "has no rows"),
        ("set", lambda answer: with_rows(answer, []), "0 rows for one key"),
        ("scan", lambda answer: with_rows(answer, [["0" * 15 + "x", b""]]), "none of these keys"),
        ("scan", lambda answer: with_rows(answer, [[KEY, b""]] * 11), "a scan has 11 rows"),
        ("scan", lambda answer: with_rows(answer, [["9" * 16, b"x" * 100]]), "in a scan"),
    ],
)
def test_wrong_answers_are_counted(bench, server, workload, act, problem):
    bench("load")
    first = len(server.requests)
    server.script = {first + i: act for i in (3, 11, 12)}
    code, report = bench(workload, "--requests", 60, "--pipeline", 4, "--scan-rows", 10)
    assert (code, report["errors"], report["requests"]) == (4, 3, 60)
    assert problem in report["first_error"]


def test_rows_out_of_order_are_found(bench, server):
    bench("load")
    found = [[key, server.data[key]] for key in (f"{49:016d}", f"{48:016d}")]
    server.script = {len(server.requests): lambda answer: with_rows(answer, found)}
    code, report = bench("scan", "--requests", 1, "--connections", 1)
    assert (code, report["first_error"]) == (4, "a scan's row is out of order, or its key is none of these keys")


@pytest.mark.parametrize("at", [0, 7, 8, 11, 12, 50, 99])
@pytest.mark.parametrize("workload", ["get", "scan"])
def test_one_wrong_byte_of_a_value_is_found(bench, server, at, workload):
    bench("load")
    for key, value in server.data.items():
        server.data[key] = value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]
    code, report = bench(workload, "--requests", 30)
    assert (code, report["errors"]) == (4, 30)


def test_a_value_of_another_key_is_found(bench, server):
    bench("load")
    a, b = f"{1:016d}", f"{2:016d}"
    server.data[a], server.data[b] = server.data[b], server.data[a]
    assert 0 < bench("get", "--requests", 500)[1]["errors"] < 100


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400\r\n" * 6,
        b"\xcf" + b"\xff" * 8,
        b"\xce\x7f\xff\xff\xff",
        b"\x00",
        b"\x01\x00",
        b"\x03\x80\x91\x91",
        b"\x02\x80\x00",
        b"\x03\x80\x80\x80",
        reply(0, 0, []),
        b"\x01\x80",
        rows(1, []),
        rows(2**40, []),
        rows(0, []) * 2,
    ],
)
def test_what_is_no_answer_ends_the_run(command, server, answer):
    server.script = {0: lambda _: answer}
    result = command(
        "bench", "--connect", server.address, "--protocol", "iproto", "--workload", "get",
        "--connections", 1, "--seconds", 5, "--warmup", 0,
    )  # fmt: skip
    assert result.code == 4
    assert result.err.count("\n") == 1


def test_another_server_is_told_by_its_greeting(command, monkeypatch):
    monkeypatch.setattr(IprotoServer, "greeting", b"-ERR\r\n")
    with IprotoServer() as server:
        result = command("bench", "--connect", server.address, "--protocol", "iproto", "--connections", 1)
    assert result.code == 4
    assert "does not greet as Tarantool" in result.err


@pytest.mark.parametrize("workload", ["mget", "batch", "fullscan"])
def test_what_tarantool_has_no_requests_for(command, server, workload):
    result = command("bench", "--connect", server.address, "--protocol", "iproto", "--workload", workload)
    assert result.code == 2
    assert "Tarantool has no requests of many keys" in result.err
