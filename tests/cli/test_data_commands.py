"""get, put, delete, scan, count, import, export and status against a real cluster."""

import json
import os
import stat

import msgpack
import pytest

from sherd.cli.raw_link import RawLink
from sherd.client.sync import Client

pytestmark = pytest.mark.core


def test_put_get_delete(on_cluster):
    assert on_cluster("put", "a", "hello").code == 0
    got = on_cluster("get", "a")
    assert (got.code, got.out) == (0, b"hello")
    assert on_cluster("delete", "a").code == 0
    missing = on_cluster("get", "a")
    assert (missing.code, missing.out, missing.err) == (1, b"", "sherd: no such key: a\n")
    assert on_cluster("delete", "a").code == 1


def test_followers_may_be_waited_for_and_read_from(on_cluster, tmp_path):
    assert on_cluster("put", "a", "hello", "--acks", "insync").code == 0
    assert on_cluster("get", "a", "--stale-ms", 500).out == b"hello"
    assert on_cluster("count", "--stale-ms", 500).out == b"1\n"
    assert on_cluster("delete", "a", "--acks", "insync").code == 0
    assert on_cluster("put", "a", "b", "--acks", "all").code == 2
    assert on_cluster("get", "a", "--stale-ms", 0).code == 2
    refused = on_cluster("get", "a", "--stale-ms", 500, "--data", tmp_path)
    assert (refused.code, "--stale-ms has no meaning with --data" in refused.err) == (2, True)


@pytest.mark.parametrize("value", ["", "über", "two\nlines", "-x", '{"a": 1}'])
def test_text_is_stored_as_str(on_cluster, cluster, value):
    assert on_cluster("put", "k", "--", value).code == 0
    assert on_cluster("get", "k").out == value.encode()
    with Client(cluster) as client:
        assert client.get("k") == value


def test_stdin_and_bytes_that_are_not_text(on_cluster, cluster):
    assert on_cluster("put", "k", "-", stdin=b"\x00\xff\n").code == 0
    assert on_cluster("get", "k").out == b"\x00\xff\n"
    with Client(cluster) as client:
        assert client.get("k") == b"\x00\xff\n"
    assert on_cluster("put", "k", os.fsdecode(b"\xff")).code == 0
    assert on_cluster("get", "k").out == b"\xff"
    assert on_cluster("put", os.fsdecode(b"\xfe"), "v").code == 0
    assert on_cluster("get", os.fsdecode(b"\xfe")).out == b"v"


def test_json_values(on_cluster, cluster):
    assert on_cluster("put", "k", '{"a": [1, 2.5, null, "x"]}', "--json").code == 0
    with Client(cluster) as client:
        assert client.get("k") == {"a": [1, 2.5, None, "x"]}
    assert json.loads(on_cluster("get", "k").out) == {"a": [1, 2.5, None, "x"]}
    on_cluster("put", "k", "text")
    assert on_cluster("get", "k", "--json").out == b'"text"\n'
    for wrong in ("{", "null", "NaN"):
        answer = on_cluster("put", "k", wrong, "--json")
        assert answer.code == 2
        assert answer.err.count("\n") == 1
    assert on_cluster("get", "k").out == b"text"


def test_scan_prints_json_lines_in_key_order_over_shards(on_cluster):
    for key in ("z", "b", "n", "a"):
        on_cluster("put", key, f"of {key}")
    lines = [json.loads(line) for line in on_cluster("scan").out.splitlines()]
    assert lines == [{"key": key, "value": f"of {key}"} for key in "abnz"]
    assert on_cluster("scan", "b", "z", "--keys-only").out == b"b\nn\n"
    assert on_cluster("scan", "--reverse", "--limit", "3", "--keys-only").out == b"z\nn\nb\n"
    assert on_cluster("scan", "--reverse", "--limit", "1").out.count(b"\n") == 1
    assert on_cluster("scan", "--prefix", "n", "--keys-only").out == b"n\n"
    assert on_cluster("scan", "--limit", "0").out == b""
    assert on_cluster("count").out == b"4\n"
    assert on_cluster("count", "b", "--prefix", "b").out == b"1\n"
    assert on_cluster("count", "c", "n").out == b"0\n"


def test_export_and_import_give_back_every_byte(on_cluster, cluster, tmp_path):
    rows = {b"%04d" % number: msgpack.packb({"n": number}) for number in range(3000)}
    rows |= {
        b"\xff\x00": b"\xcd\x00\x01",
        b"odd": b"\xd9\x01a",
        b"bin": b"\xc4\x01\xff",
        "é".encode(): b"\xcb" + bytes(8),
    }
    with RawLink(cluster) as link:
        for key, value in rows.items():
            link.call("put", b"\x92" + msgpack.packb(key) + value)
    exported = on_cluster("export")
    assert exported.code == 0
    assert exported.err == f"exported {len(rows)} entries\n"
    assert exported.out.count(b"\n") == len(rows)
    with Client(cluster) as client:
        client.batch([("delete", key) for key in rows])
    file = tmp_path / "all.jsonl"
    file.write_bytes(exported.out)
    assert on_cluster("import", file).err == f"imported {len(rows)} entries\n"
    assert on_cluster("export").out == exported.out
    assert on_cluster("import", "-", stdin=exported.out).code == 0
    assert on_cluster("export").out == exported.out
    assert on_cluster("export", "--prefix", "000").out.count(b"\n") == 10


def test_bad_lines_are_left_out_and_told(on_cluster):
    lines = [b'{"key":"a","value":1}', b"{bad", b"", b'{"key":"b","value":2}', b'{"key":"","value":2}']
    answer = on_cluster("import", "-", stdin=b"\n".join(lines))
    assert answer.code == 2
    assert "sherd: line 2: not JSON" in answer.err
    assert "sherd: line 5: the key has 0 bytes" in answer.err
    assert "imported 2 entries, 2 bad lines left out" in answer.err
    assert on_cluster("count").out == b"2\n"


def test_strict_stops_at_the_bad_line_and_skip_goes_on(on_cluster):
    lines = [b'{"key":"a","value":1}', b'{"key":"b","value":2}', b"{bad", b'{"key":"c","value":3}']
    answer = on_cluster("import", "-", "--strict", stdin=b"\n".join(lines))
    assert answer.code == 2
    assert "stopped; go on with --skip 2" in answer.err
    assert on_cluster("count").out == b"2\n"
    assert on_cluster("import", "-", "--strict", "--skip", "3", stdin=b"\n".join(lines)).code == 0
    assert on_cluster("scan", "--keys-only").out == b"a\nb\nc\n"


def test_a_row_that_the_server_refuses_is_told_and_stops_nothing(on_cluster):
    too_large = json.dumps({"key": "big", "value": "x" * (9 << 20)}).encode()
    lines = [b'{"key":"a","value":1}', too_large, b'{"key":"b","value":2}']
    answer = on_cluster("import", "-", stdin=b"\n".join(lines))
    assert answer.code == 2
    assert "sherd: line 2: " in answer.err
    assert "imported 2 entries, 1 bad lines left out" in answer.err
    assert on_cluster("scan", "--keys-only").out == b"a\nb\n"


def test_of_a_key_that_comes_twice_the_last_one_stays(on_cluster):
    lines = [b'{"key":"k%d","value":%d}' % (number % 7, number) for number in range(20_000)]
    assert on_cluster("import", "-", stdin=b"\n".join(lines)).code == 0
    assert {on_cluster("get", f"k{number}").out for number in range(7)} == {b"%d\n" % n for n in range(19_993, 20_000)}


def test_status(on_cluster, cluster):
    status = json.loads(on_cluster("status", "--json").out)
    assert set(status) >= {
        "version", "compiled", "partition", "layout", "fsync", "shards", "proxies", "moves", "warnings",
    }  # fmt: skip
    assert [shard["id"] for shard in status["shards"]] == [1, 2]
    table = on_cluster("status").out.decode()
    assert "partition=range" in table
    assert cluster in table
    assert f"pid {status['shards'][0]['leader']['pid']}" in table


def test_flush_and_compact(on_cluster):
    on_cluster("put", "a", "1")
    for name in ("flush", "compact"):
        answer = on_cluster(name)
        assert answer.code == 0
        assert answer.out.decode().startswith("shard 1: ")
        assert f"{name} done in" in answer.out.decode()
    assert on_cluster("get", "a").out == b"1"


def test_bad_requests_are_usage_errors(on_cluster):
    for arguments in (("get", ""), ("put", "k" * 5000, "v"), ("get",), ("scan", "--limit", "-1"), ("no-such-command",)):
        answer = on_cluster(*arguments)
        assert answer.code == 2, arguments
        assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "arguments", [("get", "a"), ("put", "a", "b"), ("scan",), ("export",), ("import", "-"), ("status",), ("flush",)]
)
def test_nobody_there_is_exit_code_3(command, arguments, free_port):
    answer = command(*arguments, "--connect", f"127.0.0.1:{free_port}")
    assert answer.code == 3
    assert answer.err.startswith("sherd: ")
    assert "sherd up" in answer.err
    assert answer.err.count("\n") <= 2


def test_the_socket_directory_is_private(cluster, on_cluster):
    status = json.loads(on_cluster("status", "--json").out)
    socket_path = status["shards"][0]["leader"]["address"].removeprefix("unix:")
    assert stat.S_IMODE(os.stat(os.path.dirname(socket_path)).st_mode) == 0o700
