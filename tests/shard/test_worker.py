"""The shard as a real process: start, stop, kill, a failing disk, peers that flood it or don't read."""

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.shard_process import PATIENCE_SECONDS, Peer, ShardProcess, resident_bytes

from sherd.common.disk import RealDisk
from sherd.shard.janitor_process import cpu_ticks
from sherd.shard.lsm.manifest import read_manifest

MIB = 1 << 20


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[ShardProcess]:
    with ShardProcess(tmp_path, "--fsync", "always", "--memtable-bytes", "16MiB") as process:
        yield process


def keys_of(peer: Peer) -> int:
    total, resume = 0, None
    while True:
        _, resume, count = peer.call("count_slice", resume, None)
        total += count
        if resume is None:
            return int(total)


def test_it_says_when_it_serves_and_who_it_is(shard: ShardProcess) -> None:
    ready = shard.start()
    assert (ready.pid, ready.address, ready.error) == (shard.process.pid, f"unix:{shard.address}", "")
    with shard.peer() as peer:
        hello = peer.call("hello", {"link": "p", "layout": 1, "purpose": "point"})
        assert (hello["shard"], hello["term"], hello["layout"], hello["pid"]) == (1, 1, 1, ready.pid)
        status = peer.call("status")
        assert status["fsync"] == "always"
        assert status["connections"] == 1
    assert shard.stop() == 0


def test_stopped_it_has_answered_all_it_took_and_closes_clean(shard: ShardProcess) -> None:
    shard.start()
    with shard.peer() as peer, shard.peer() as idle:
        for number in range(3000):
            peer.send("put", f"k{number:05}", number)
        first = peer.take()
        shard.process.send_signal(signal.SIGTERM)
        replies = [first, *peer.rest()]
        assert idle.take() is None
        assert shard.wait() == 0
    acknowledged = [reply for reply in replies if reply is not None and reply.error is None]
    assert [reply.msgid for reply in acknowledged] == list(range(1, len(acknowledged) + 1))
    assert "clean=True" in shard.log
    manifest = read_manifest(RealDisk(), str(shard.data))
    assert manifest is not None
    assert manifest.clean_lsn == acknowledged[-1].result
    shard.start()
    with shard.peer() as peer:
        assert keys_of(peer) == len(acknowledged)  # what it took it has answered, and nothing more is there
        assert peer.call("status")["cut_bytes"] == 0
    assert shard.stop() == 0


@pytest.mark.parametrize("policy", ["always", "ops:100", "interval:1s", "os"])
def test_killed_it_has_lost_nothing_acknowledged_and_its_janitor_ends(tmp_path: Path, policy: str) -> None:
    with ShardProcess(tmp_path, "--fsync", policy) as shard:  # FAULTS 9, 33
        shard.start()
        with shard.peer() as peer:
            janitor = peer.call("status")["janitor_pid"]
            first = peer.send("put", "k00000", 0)
            for number in range(1, 2000):
                peer.send("put", f"k{number:05}", number)
            answered = [peer.take() for _ in range(1000)]
            shard.kill()
            answered += peer.rest()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while janitor is not None and cpu_ticks(janitor) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert janitor is None or cpu_ticks(janitor) is None
        shard.start()
        with shard.peer() as peer:
            values = peer.call("mget", [f"k{number:05}" for number in range(2000)])
            for reply in answered:
                assert reply is not None
                assert values[reply.msgid - first] == reply.msgid - first


def test_what_it_refuses_to_start_with(shard: ShardProcess) -> None:
    ready = shard.start(shard=2)
    assert "no shard 2" in ready.error
    assert shard.wait() != 0
    shard.start(term=5)
    with shard.peer() as peer:
        peer.call("put", "a", 1)
    assert shard.stop() == 0
    for term in (5, 4):
        ready = shard.start(term=term)
        assert "term" in ready.error
        assert shard.wait() != 0
    shard.start(term=6)
    ready = ShardProcess.start(second := ShardProcess(shard.folder), term=7)  # the same directory
    assert "in use by another process" in ready.error
    assert second.wait() != 0
    shard.topology.unlink()
    assert shard.stop() == 0


def test_a_link_that_announces_a_newer_layout_has_it_read(shard: ShardProcess) -> None:
    shard.start()
    with shard.peer() as peer:
        shard.publish(term=1, counter=4)
        assert peer.call("hello", {"layout": 4})["layout"] == 4
        shard.topology.write_text("damaged")
        assert peer.call("hello", {"layout": 5})["layout"] == 4
        shard.topology.unlink()
        assert peer.call("hello", {"layout": 5})["layout"] == 4
        peer.call("put", "a", 1)
    assert "topology not readable" in shard.log


def test_huge_pipelines_are_answered_in_order(shard: ShardProcess) -> None:  # FAULTS 30
    shard.start()
    with shard.peer() as peer:
        peer.call("put", "a", b"v" * 100)
        wanted = 100_000
        writer = threading.Thread(target=peer.send_all, args=([("get", "a")] * wanted,))  # pipes fill up both ways
        writer.start()
        for number in range(wanted):
            reply = peer.take()
            assert reply is not None
            assert (reply.msgid, len(reply.result)) == (number + 2, 100)
        writer.join()


@pytest.mark.parametrize("method", ["get", "mget"])
def test_a_peer_that_does_not_read_costs_little_and_disturbs_nobody(tmp_path: Path, method: str) -> None:  # FAULTS 21
    with ShardProcess(tmp_path, "--fsync", "os") as shard:
        pid = shard.start().pid
        with shard.peer() as deaf, shard.peer() as other:
            other.call("put", "big", b"v" * MIB)
            before = resident_bytes(pid)
            wanted = 400 if method == "get" else 40
            deaf.send_all([(method, "big" if method == "get" else ["big"] * 10)] * wanted)
            most = 0
            for number in range(200):
                other.call("put", "small", number)
                assert other.call("get", "small") == number
                most = max(most, resident_bytes(pid) - before)
            assert most < 100 * MIB, f"{most >> 20} MiB more for a peer that does not read"
            for _ in range(wanted):
                reply = deaf.take()
                assert reply is not None
                assert len(reply.result) == (MIB if method == "get" else 10)
        assert shard.stop() == 0


def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        subprocess.run(["apt-get", "install", "-y", "-q", "strace"], check=False, capture_output=True, timeout=120)
        found = shutil.which("strace")
    if found is None:
        pytest.fail("strace is needed for this test and could not be installed")
    return found


@pytest.mark.parametrize("failing", ["fdatasync", "write"])
def test_a_disk_that_fails_ends_the_process_and_loses_nothing(tmp_path: Path, failing: str) -> None:  # FAULTS 5
    # strace counts the calls of each thread: the one that syncs comes to this number, those that start up do not.
    # Writes are told from others by their path, the segment that the first start writes to.
    inject = ["-e", f"inject={failing}:error=EIO:when=20"]
    if failing == "write":
        inject += ["-P", str(tmp_path / "shard" / "000001.wal")]
    with ShardProcess(tmp_path, "--fsync", "always") as shard:
        ready = shard.start(under=[strace(), "-f", "-qq", "-o", str(tmp_path / "trace"), *inject])
        assert ready.error == ""
        acknowledged: dict[str, int] = {}
        with shard.peer() as peer:
            for number in range(200):
                try:
                    peer.send("put", f"k{number}", number)
                except BrokenPipeError:
                    break
                reply = peer.take()
                if reply is None:
                    break
                assert reply.error is None
                acknowledged[f"k{number}"] = number
        assert 5 < len(acknowledged) < 50
        assert shard.wait() == 1
        assert "nothing more is answered" in shard.log
        assert os.strerror(errno.EIO) in shard.log
        shard.start()
        with shard.peer() as peer:
            assert peer.call("mget", list(acknowledged)) == list(acknowledged.values())
            peer.call("put", "after", 1)
        assert shard.stop() == 0
