"""`sherd bench --protocol resp` against a scripted server: wrong answers are found, waiting is charged."""

import json
import time

import pytest
from support.resp_server import RespServer

pytestmark = pytest.mark.core


@pytest.fixture
def server():
    with RespServer() as running:
        yield running


@pytest.fixture
def bench(command, server):
    """Run `sherd bench` with 2 connections; its exit code, its report."""

    def run(workload, *flags):
        result = command(
            "bench", "--connect", server.address, "--protocol", "resp", "--workload", workload, "--json",
            "--connections", 2, "--warmup", 0, "--keys", 50, "--batch-keys", 5, *flags,
        )  # fmt: skip
        return result.code, json.loads(result.out)

    return run


@pytest.mark.parametrize("workload", ["set", "get", "mixed", "mget", "batch", "a", "b", "c", "d", "f"])
def test_every_workload(bench, server, workload):
    code, report = bench("load", "--value-bytes", "uniform:1-300")
    assert (code, report["requests"], len(server.data)) == (0, 50, 50)
    code, report = bench(workload, "--requests", 200, "--pipeline", 7, "--value-bytes", "uniform:1-300")
    assert (code, report["errors"], report["missing"], report["requests"]) == (0, 0, 0, 200)
    if workload in ("mget", "batch"):
        assert report["keys_touched"] == 1000
    assert (len(server.data) > 50) == (workload == "d")
    assert sorted(server.data) == [b"%016d" % i for i in range(len(server.data))]


def test_read_modify_write_is_a_get_and_a_set_of_the_same_key(bench, server):
    bench("load")
    del server.requests[:]
    bench("f", "--requests", 100, "--connections", 1)
    sets = [i for i, words in enumerate(server.requests) if words[0] == b"SET"]
    assert 25 < len(sets) < 75
    assert len(server.requests) == 100 + len(sets)
    assert all(server.requests[i - 1][:2] == [b"GET", server.requests[i][1]] for i in sets)


def test_large_values_in_pieces(bench, server):
    assert bench("load", "--value-bytes", 300_000, "--keys", 8)[0] == 0
    code, report = bench("get", "--value-bytes", 300_000, "--keys", 8, "--requests", 20, "--pipeline", 3)
    assert (code, report["errors"], report["missing"]) == (0, 0, 0)
    assert bench("mget", "--value-bytes", 300_000, "--keys", 8, "--requests", 4)[0] == 0


def test_missing_keys_are_counted_and_no_errors(bench):
    code, report = bench("get", "--requests", 100)
    assert (code, report["missing"], report["errors"]) == (0, 100, 0)
    assert bench("mget", "--requests", 10)[1]["missing"] == 50


@pytest.mark.parametrize(
    ("workload", "answer", "problem"),
    [
        ("get", b"-LOADING the data set\r\n", "LOADING the data set"),
        ("get", b"+OK\r\n", "wrong value of key"),
        ("get", b"$3\r\nabc\r\n", "wrong value of key"),
        ("get", b"$100\r\n" + 100 * b"x" + b"\r\n", "wrong value of key"),
        ("set", b":1\r\n", "not OK"),
        ("batch", b"-ERR no\r\n", "ERR no"),
        ("mget", b"*1\r\n$-1\r\n", "another length"),
        ("mget", b"*5\r\n$-1\r\n$1\r\nx\r\n$-1\r\n$-1\r\n$-1\r\n", "wrong value of key"),
    ],
)
def test_wrong_answers_are_counted(bench, server, workload, answer, problem):
    bench("load")
    first = len(server.requests)
    server.script = {first + i: lambda _: answer for i in (3, 11, 12)}
    code, report = bench(workload, "--requests", 60, "--pipeline", 4)
    assert (code, report["errors"], report["requests"]) == (4, 3, 60)
    assert problem in report["first_error"]


@pytest.mark.parametrize("at", [0, 7, 8, 11, 12, 50, 99])
def test_one_wrong_byte_of_a_value_is_found(bench, server, at):
    bench("load")
    for key, value in server.data.items():
        server.data[key] = value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]
    code, report = bench("get", "--requests", 30)
    assert (code, report["errors"]) == (4, 30)


def test_a_value_of_another_key_is_found(bench, server):
    bench("load")
    a, b = b"%016d" % 1, b"%016d" % 2
    server.data[a], server.data[b] = server.data[b], server.data[a]
    assert 0 < bench("get", "--requests", 500)[1]["errors"] < 100


def test_values_do_not_repeat(bench, server):
    bench("load")
    assert len({value[12:] for value in server.data.values()}) == 50


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\r\n", b"$x\r\n", b"+OK\r\n+OK\r\n"])
def test_what_is_no_answer_ends_the_run(command, server, answer):
    server.script = {0: lambda _: answer}
    result = command(
        "bench", "--connect", server.address, "--protocol", "resp", "--connections", 1, "--seconds", 5, "--warmup", 0
    )
    assert result.code == 4
    assert result.err.count("\n") == 1


def test_open_loop_charges_a_pause_to_all_who_had_to_wait(bench, server):
    """The server pauses 200 ms: at a fixed rate a fifth of a second's requests waited for it, 100 ms in the middle."""

    def pause(answer):
        time.sleep(0.2)
        return answer

    server.script = {200: pause}
    code, report = bench("set", "--rate", 500, "--seconds", 1)
    assert (code, report["requests"], report["rate"]) == (0, 500, 500)
    assert 150_000 < report["p99_us"] < 400_000
    assert report["p50_us"] < 100_000
    assert report["behind_max_ms"] > 100
    assert report["longest_gap_ms"] > 150
    # A closed loop stops asking meanwhile, and would tell of two slow requests only.
    server.script = {len(server.requests) + 200: pause}
    report = bench("set", "--requests", 500)[1]
    assert report["p99_us"] < 100_000
    assert report["max_us"] > 190_000


def test_warm_up_is_not_counted(bench, server):
    report = bench("set", "--rate", 200, "--warmup", 0.25, "--seconds", 0.5)[1]
    assert report["requests"] == pytest.approx(100, abs=2)
    assert len(server.requests) == pytest.approx(150, abs=2)


def test_hdr_file(bench, tmp_path):
    path = tmp_path / "latency.hdr"
    bench("set", "--requests", 100, "--hdr", path)
    assert path.read_text().splitlines()[-2].endswith("Total count    =          100]")


@pytest.mark.parametrize("workload", ["scan", "fullscan", "e"])
def test_scans_are_not_for_redis(command, server, workload):
    result = command("bench", "--connect", server.address, "--protocol", "resp", "--workload", workload)
    assert result.code == 2
    assert "Redis has no ordered scan" in result.err


def test_nobody_there(command, free_port):
    result = command("bench", "--connect", f"127.0.0.1:{free_port}", "--connections", 1)
    assert result.code == 3
    assert result.err.count("\n") == 1
