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
        assert set(shard[b"leader"]) == {b"name", b"pid", b"address", b"written_lsn", b"synced_lsn"}
    assert sum(shard[b"share"] for shard in status[b"shards"]) == pytest.approx(1.0)
    assert sum(shard[b"keys"] for shard in status[b"shards"]) == 30
    assert set(status[b"proxies"][0]) == {b"name", b"pid", b"address", b"connections"}


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


def warnings_of(*told: dict[str, object]) -> list[str]:
    """The warnings of a cluster whose shards say these things of themselves."""
    rig = Rig(shards=len(told))
    for shard, more in zip(rig.shards.values(), told, strict=True):
        shard.told = more
    status = rig.call("status")
    assert isinstance(status, dict)
    return [warning.decode() for warning in status[b"warnings"]]


def test_nothing_to_warn_of() -> None:
    assert warnings_of({}, {"jobs_failed": 0, "jobs_failing": [], "last_job_failed_seconds_ago": None}) == []


@pytest.mark.parametrize(
    ("work", "error", "words"),
    [
        (
            "flush",
            "StoreFull: no room on the disk of /d",
            ["cannot write its memory to tables", "make room", "refused"],
        ),
        ("compaction", "Corruption: /d/7.sst: checksum", ["cannot merge its tables", "sherd verify", "/d/7.sst"]),
        ("flush", "OSError: [Errno 5] Input/output error", ["look after its disk", "Errno 5"]),
        ("dance", "Strange: thing", ["(dance)", "Strange: thing"]),
    ],
)
def test_background_work_that_fails_is_told_with_what_to_do(work: str, error: str, words: list[str]) -> None:
    failing = [{"work": work, "times": 3, "error": error}]
    told = {"jobs_failed": 5, "last_job_error": "another", "jobs_failing": failing, "last_job_failed_seconds_ago": 2.0}
    [warning] = warnings_of({}, told)
    assert warning.startswith("shard 2 ")
    assert "tried 3 times" in warning
    for word in words:
        assert word in warning


def test_background_work_that_failed_and_was_done_is_told_for_an_hour() -> None:
    told = {"jobs_failed": 2, "last_job_error": "SherdError: the janitor, process 9, ended", "jobs_failing": []}
    [warning] = warnings_of(told | {"last_job_failed_seconds_ago": 3599.0})
    assert warning.startswith("shard 1 got background work done only when it tried again: 2 failures")
    assert "the janitor, process 9, ended" in warning
    assert warnings_of(told | {"last_job_failed_seconds_ago": 3601.0}) == []
    assert len(warnings_of(told)) == 1


def test_damage_that_reads_have_met_is_told() -> None:
    [warning] = warnings_of({"damaged": ["/d/7.sst: checksum of the block at byte 32", "/d/8.sst: gone"]})
    assert warning.startswith("shard 1 cannot read part of its data")
    for word in ("/d/7.sst: checksum of the block at byte 32", "/d/8.sst", "CORRUPTION", "sherd verify"):
        assert word in warning


def test_what_followers_have_in_quarantine_is_told() -> None:
    followers = {"2": {"quarantined": 3}, "3": {"quarantined": 0}, "4": "nonsense", "5": {}}
    assert "shard 1: replica 2 has records in quarantine, files: 3" in warnings_of({"followers": followers})
    assert len(warnings_of({"followers": followers})) == 1
    assert warnings_of({"followers": 7}) == []


def test_a_shard_that_talks_nonsense_of_its_work_does_no_harm() -> None:
    assert warnings_of({"damaged": 3, "jobs_failing": 7, "jobs_failed": None}) == []
    assert len(warnings_of({"jobs_failing": [7, {}], "jobs_failed": 1})) == 1


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
