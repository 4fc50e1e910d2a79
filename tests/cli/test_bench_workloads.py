"""Every workload of `sherd bench` against a real small cluster: no errors, and the right keys afterwards."""

import json

import pytest
from support.scripted_server import ScriptedServer, refuse, send_raw

pytestmark = pytest.mark.core

KEYS = 400
FIELDS = {
    "workload", "protocol", "connections", "pipeline", "rate", "keys", "value_bytes", "requests", "seconds",
    "per_second", "errors", "first_error", "missing", "p50_us", "p90_us", "p99_us", "p999_us", "max_us",
    "longest_gap_ms", "generator_cpu_us_per_request", "pid",
}  # fmt: skip


@pytest.fixture
def bench(command, sherd_cluster):
    """Run `sherd bench` on an empty cluster, the first time after a load; its report."""

    def run(workload, *flags):
        result = command(
            "bench", "--connect", sherd_cluster.address, "--workload", workload, "--json", "--keys", KEYS,
            "--connections", 5, "--warmup", 0, "--batch-keys", 7, "--scan-rows", 30, *flags,
        )  # fmt: skip
        assert result.code == 0, result
        return json.loads(result.out)

    return run


def keys_of(cluster):
    with cluster.client() as db:
        return list(db.scan(keys_only=True))


def numbered(count):
    return [b"%016d" % i for i in range(count)]


@pytest.mark.parametrize("order", ["random", "sequential"])
def test_load(bench, sherd_cluster, order):
    report = bench("load", "--order", order)
    assert report.keys() >= FIELDS
    assert (report["requests"], report["errors"]) == (KEYS, 0)
    assert keys_of(sherd_cluster) == numbered(KEYS)
    with sherd_cluster.client() as db:
        assert {len(value) for _, value in db.scan()} == {100}


@pytest.mark.parametrize("workload", ["set", "get", "mixed", "mget", "batch", "scan", "a", "b", "c", "d", "e", "f"])
def test_every_workload(bench, sherd_cluster, workload):
    bench("load", "--value-bytes", "lognormal:60:1")
    report = bench(workload, "--requests", 300, "--pipeline", 4, "--value-bytes", "lognormal:60:1")
    assert (report["requests"], report["errors"], report["missing"]) == (300, 0, 0)
    assert 0 < report["p50_us"] <= report["p99_us"] <= report["max_us"]
    keys = keys_of(sherd_cluster)
    assert keys == numbered(len(keys))
    assert (len(keys) > KEYS) == (workload in ("d", "e"))
    if workload in ("mget", "batch"):
        assert report["keys_touched"] == 2100
    if workload == "scan":
        assert 300 * 25 < report["rows"] <= 300 * 30
    if workload == "e":
        assert 285 * 25 < report["rows"] < 300 * 70


def test_a_scan_goes_on_where_a_page_ends(bench):
    """Pages end at 256 KiB, or as many bytes as the rows asked for can have."""
    bench("load", "--value-bytes", 60_000, "--keys", 150)
    report = bench("scan", "--value-bytes", 60_000, "--keys", 1, "--scan-rows", 150, "--requests", 10)
    assert (report["errors"], report["rows"]) == (0, 1500)


def test_full_scan(bench):
    bench("load")
    report = bench("fullscan")
    assert (report["rows"], report["errors"], report["requests"], report["connections"]) == (KEYS, 0, 1, 1)


def test_open_loop(bench):
    report = bench("mixed", "--rate", 400, "--seconds", 0.5)
    assert report["requests"] == 200
    assert report["rate"] == 400
    assert report["behind_max_ms"] >= 0


def test_table(command, sherd_cluster):
    result = command("bench", "--connect", sherd_cluster.address, "--requests", 50, "--warmup", 0)
    assert result.code == 0
    lines = result.out.decode().splitlines()
    assert "requests                       50" in lines
    assert any(line.startswith("p99 ") and line.endswith(" us") for line in lines)


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (refuse([21, "UNAVAILABLE shard 1 has no leader", None]), "UNAVAILABLE shard 1 has no leader"),
        (refuse("as text"), "as text"),
        (send_raw(lambda msgid: bytes((0x94, 1, msgid, 0xC0, 0xA1, 0x78))), "wrong value of key 0"),
        (send_raw(lambda msgid: bytes((0x94, 1, msgid, 0xC0, 0xC4, 1, 0))), "wrong value of key 0"),
    ],
)
def test_errors_and_wrong_values_are_counted(command, act, problem):
    server = ScriptedServer()
    try:
        server.script(act)
        result = command(
            "bench", "--connect", server.address, "--workload", "get", "--json", "--connections", 1, "--warmup", 0,
            "--requests", 20, "--keys", 10,
        )  # fmt: skip
    finally:
        server.close()
    report = json.loads(result.out)
    assert (result.code, report["errors"], report["requests"], report["missing"]) == (4, 1, 20, 19)
    assert problem in report["first_error"]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([b"\x92\xc4\x10%016d\xc0" % i for i in (5, 4)], "out of order"),
        ([b"\x92\xc4\x10%016d\xc0" % i for i in (5, 5)], "out of order"),
        ([b"\x92\xc4\x10%016d\x01" % 5], "wrong value of key 0000000000000005 in a scan"),
        ([b"\x92\xa1k\x01"], "none of these keys"),
        ([b"\x92\xc4\x10%016d\xc0" % i for i in range(4)], "at most 3"),
    ],
)
def test_wrong_pages_are_counted(command, rows, problem):
    page = b"\x92" + bytes((0x90 + len(rows),)) + b"".join(rows) + b"\xc0"
    server = ScriptedServer()
    try:
        server.script(send_raw(lambda msgid: bytes((0x94, 1, msgid, 0xC0)) + page))
        result = command(
            "bench", "--connect", server.address, "--workload", "scan", "--json", "--connections", 1, "--warmup", 0,
            "--requests", 1, "--keys", 1, "--scan-rows", 3,
        )  # fmt: skip
    finally:
        server.close()
    report = json.loads(result.out)
    assert (result.code, report["errors"]) == (4, 1)
    assert problem in report["first_error"]
