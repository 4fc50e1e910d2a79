"""The rarer methods, and the shape that INTERFACE.md promises for status."""

import pytest
from support.proxy_core import Rig

pytestmark = pytest.mark.core


@pytest.mark.parametrize("mode", ["hash", "range"])
def test_status_has_the_promised_shape(mode: str) -> None:
    rig = Rig(mode, shards=3)
    for number in range(30):
        rig.call("put", b"%c%d" % (33 + 3 * number, number), number)
    status = rig.call("status")
    assert isinstance(status, dict)
    assert {
        b"version",
        b"compiled",
        b"partition",
        b"layout",
        b"fsync",
        b"shards",
        b"proxies",
        b"moves",
        b"warnings",
    } <= (set(status))
    assert (status[b"partition"], status[b"layout"], status[b"fsync"]) == (mode.encode(), 1, b"os")
    assert [shard[b"id"] for shard in status[b"shards"]] == [1, 2, 3]
    for shard in status[b"shards"]:
        assert {b"id", b"term", b"share", b"keys", b"bytes", b"leader", b"followers", b"memtable_bytes", b"tables",
                b"levels", b"write_amplification"} <= set(shard)  # fmt: skip
        assert set(shard[b"leader"]) == {b"pid", b"address", b"written_lsn", b"synced_lsn"}
    assert sum(shard[b"share"] for shard in status[b"shards"]) == pytest.approx(1.0)
    assert sum(shard[b"keys"] for shard in status[b"shards"]) == 30
    assert set(status[b"proxies"][0]) == {b"pid", b"address", b"connections"}


def test_status_names_a_shard_that_does_not_answer() -> None:
    rig = Rig(shards=2)
    rig.lose(rig.link(2, "scan"))
    session, sink = rig.session()
    session.feed(b"\x94\x00\x01\xa6status\x90")
    rig.serve()
    rig.tick(2.1)
    [[_, _, error, status]] = sink.responses()
    assert error is None
    assert isinstance(status, dict)
    assert len(status[b"warnings"]) == 1
    assert b"shard 2" in status[b"warnings"][0]
    assert len(status[b"shards"]) == 2


@pytest.mark.parametrize("method", ["flush", "compact"])
def test_forced_work_waits_for_every_shard(method: str) -> None:
    rig = Rig(shards=3)
    session, sink = rig.session()
    session.feed(b"\x94\x00\x01" + bytes((0xA0 | len(method),)) + method.encode() + b"\x90")
    rig.serve(1, 2)
    assert sink.responses() == []
    rig.serve()
    [[_, _, error, result]] = sink.responses()
    assert error is None
    assert isinstance(result, dict)
    assert [shard[b"id"] for shard in result[b"shards"]] == [1, 2, 3]


def test_topology_and_hello_and_auth() -> None:
    rig = Rig(shards=2)
    topology = rig.call("topology")
    assert isinstance(topology, dict)
    assert set(topology[b"shards"]) == {b"1", b"2"}
    hello = rig.call("hello")
    assert isinstance(hello, dict)
    assert {b"version", b"limits", b"features"} <= set(hello)
    error = rig.call("auth", "user", "secret")
    assert isinstance(error, list)
    assert b"no authentication" in error[1][1]
