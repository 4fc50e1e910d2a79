"""The data commands with ``--data``: a Store's directory, a stopped shard, and what is neither."""

import json

import msgpack
import pytest
from support.up_process import real_up

from sherd.common.errors import StoreError
from sherd.shard.lsm.store import Store

pytestmark = pytest.mark.core


@pytest.fixture
def store(tmp_path):
    """A Store's directory with three entries, closed."""
    path = tmp_path / "store"
    with Store.open(path, memtable_bytes=1 << 20) as db:
        for key, value in (("a", "text"), ("b", b"\x00\xff"), ("c", {"x": 1.5})):
            db.put(key, value)
    return path


def test_reading(command, store):
    assert command("get", "a", "--data", store).out == b"text"
    assert command("get", "b", "--data", store).out == b"\x00\xff"
    assert command("get", "x", "--data", store).code == 1
    assert command("count", "b", "--data", store).out == b"2\n"
    assert command("scan", "--keys-only", "--reverse", "--data", store).out == b"c\nb\na\n"
    rows = [json.loads(line) for line in command("scan", "--data", store).out.splitlines()]
    assert rows == [{"key": "a", "value": "text"}, {"key": "b", "value_b64": "AP8="}, {"key": "c", "value": {"x": 1.5}}]
    assert command("scan", "--reverse", "--limit", "1", "--data", store).out == b'{"key":"c","value":{"x":1.5}}\n'
    assert command("scan", "--prefix", "b", "--data", store).out.count(b"\n") == 1


def test_writing(command, store):
    assert command("put", "d", "new", "--data", store).code == 0
    assert command("delete", "a", "--data", store).code == 0
    assert command("delete", "a", "--data", store).code == 1
    for name in ("flush", "compact"):
        assert command(name, "--data", store).code == 0
    with Store.open(store) as db:
        assert list(db.scan(keys_only=True)) == [b"b", b"c", b"d"]


def test_export_and_import(command, store, tmp_path):
    odd = msgpack.packb("x").replace(b"\xa1", b"\xd9\x01")
    lines = command("export", "--data", store).out + b'{"key":"odd","value_msgpack_b64":"2QF4"}\n'
    empty = tmp_path / "empty"
    Store.open(empty).close()
    lines += b"".join(b'{"key":"n%06d","value":"%0100d"}\n' % (number, number) for number in range(30_000))
    answer = command("import", "-", "--data", empty, stdin=lines + b"bad")
    assert answer.code == 2
    assert "sherd: line 30005: not JSON" in answer.err
    assert "imported 30004 entries, 1 bad lines left out" in answer.err
    assert sorted(command("export", "--data", empty).out.splitlines()) == sorted(lines.splitlines())
    assert odd == b"\xd9\x01x"


def test_a_store_that_is_open_is_told(command, store):
    with Store.open(store):
        for arguments in (("get", "a"), ("put", "a", "b"), ("export",), ("import", "-")):
            answer = command(*arguments, "--data", store)
            assert answer.code == 4
            assert answer.err.count("\n") == 1


def everything(path):
    """Every file below ``path``, with its bytes."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_stopped_shard_is_read_and_nothing_changes(command, tmp_path, monkeypatch):
    data = tmp_path / "cluster"
    with real_up(data, shards=1) as up:
        monkeypatch.setenv("SHERD_CONNECT", up.ready()["listen"])
        assert command("put", "a", "1").code == 0
        shard = data / "shard-1"
        assert command("get", "a", "--data", shard).code == 4
        assert up.stop() == 0
    assert command("get", "a", "--data", shard).out == b"1"
    assert command("export", "--data", shard).out == b'{"key":"a","value":"1"}\n'
    assert "name one of its shards" in command("get", "a", "--data", data).err
    before = everything(data)
    for reading in (("get", "a"), ("scan",), ("count",), ("export",)):
        assert command(*reading, "--data", shard).code == 0
    with Store.open(shard, read_only=True) as db:
        assert db.get("a") == "1"
    answer = command("import", "-", "--data", shard, stdin=b'{"key":"a","value":"2"}\n')
    assert answer.code == 2
    assert "is a shard of the cluster in" in answer.err
    assert answer.err.count("\n") == 1
    with pytest.raises(StoreError, match="is a shard of the cluster in"):
        Store.open(shard)
    assert everything(data) == before
    manifest = command("dump", shard / "MANIFEST")
    assert manifest.code == 0
    assert b"term" in manifest.out
    with real_up(data) as up:
        monkeypatch.setenv("SHERD_CONNECT", up.ready()["listen"])
        assert command("get", "a").out == b"1"
        assert up.stop() == 0


def test_a_stopped_shard_is_written_to_in_a_term_of_its_own(command, tmp_path, monkeypatch):
    data = tmp_path / "cluster"
    keys = [f"key-{number}" for number in range(20)]
    with real_up(data, shards=2) as up:
        monkeypatch.setenv("SHERD_CONNECT", up.ready()["listen"])
        for shard in (1, 2):
            answer = command("put", "a", "1", "--data", data / f"shard-{shard}")
            assert answer.code == 4
            assert "in use" in answer.err
        assert up.stop() == 0
    for key in keys:
        answers = [command("put", key, key.upper(), "--data", data / f"shard-{shard}") for shard in (1, 2)]
        assert sorted(answer.code for answer in answers) == [0, 4]
        assert any("belongs to shard-" in answer.err for answer in answers)
    assert sorted(command("delete", keys[0], "--data", data / f"shard-{shard}").code for shard in (1, 2)) == [0, 4]
    assert command("compact", "--data", data / "shard-2").code == 0
    with real_up(data) as up:
        monkeypatch.setenv("SHERD_CONNECT", up.ready()["listen"])
        assert [command("get", key).out.decode() for key in keys[1:]] == [key.upper() for key in keys[1:]]
        assert command("get", keys[0]).code == 1
        assert command("put", keys[0], "again").code == 0
        assert up.stop() == 0


def test_verify(command, store):
    answer = command("verify", store)
    assert answer.code == 0
    assert answer.out.decode().endswith("  ok\n")
    assert command("flush", "--data", store).code == 0
    (table,) = store.glob("*.sst")
    damaged = bytearray(table.read_bytes())
    damaged[40] ^= 1
    table.write_bytes(damaged)
    answer = command("verify", store)
    assert answer.code == 4
    assert table.name in answer.out.decode()
    assert "--repair" in answer.err
    (report,) = json.loads(command("verify", store, "--json").out)
    assert report["ok"] is False
    assert command("verify", store, "--repair").code == 0
    assert command("verify", store).code == 0
    assert command("count", "--data", store).code == 0


def test_verify_of_a_cluster_looks_at_every_shard(command, tmp_path):
    data = tmp_path / "cluster"
    with real_up(data, shards=2) as up:
        up.ready()
        assert command("verify", data).code == 4
        assert up.stop() == 0
    answer = command("verify", data)
    assert answer.code == 0
    assert answer.out.decode().count("  ok\n") == 2


def test_dump(command, store):
    assert command("flush", "--data", store).code == 0
    for file in (*store.glob("*.sst"), *store.glob("*.wal"), store / "MANIFEST"):
        answer = command("dump", file)
        assert answer.code == 0, file
        assert answer.out
    assert b"key=b'c'" in command("dump", next(store.glob("*.sst"))).out
    assert command("dump", store / "LOCK").code == 4
