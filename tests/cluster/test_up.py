"""``sherd up`` with its real processes: data over restarts and crashes, settings, nobody left behind."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.up_process import await_death, real_up

from sherd.client.sync import Client

pytestmark = pytest.mark.core


def descendants(pid):
    """Every process below ``pid``."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [*children, *(below for child in children for below in descendants(child))]


def shards_of(address):
    with Client(address) as client:
        return {shard["id"]: shard for shard in client.status()["shards"]}


@pytest.mark.parametrize(
    ("flags", "partition"), [({"shards": 3, "proxies": 2}, "hash"), ({"shards": 2, "split_at": "m"}, "range")]
)
def test_the_same_directory_serves_the_same_data(tmp_path, flags, partition):
    rows = {b"%c%03d" % (97 + number % 26, number): number for number in range(500)}
    with real_up(tmp_path, **flags) as up:
        ready = up.ready()
        assert (ready["partition"], ready["shards"]) == (partition, str(flags["shards"]))
        with Client(ready["listen"]) as client:
            client.batch([("put", key, value) for key, value in rows.items()])
        assert up.stop() == 0
    with real_up(tmp_path) as up:
        ready = up.ready()
        assert (ready["partition"], ready["shards"]) == (partition, str(flags["shards"]))
        with Client(ready["listen"]) as client:
            assert dict(client.scan()) == rows
        assert {shard["term"] for shard in shards_of(ready["listen"]).values()} == {2}
        assert up.stop() == 0
    assert "Traceback" not in up.log_text
    assert "ERROR" not in up.log_text


def test_a_killed_shard_comes_back_with_all_it_acknowledged(tmp_path):
    with real_up(tmp_path, shards=2, fsync="os") as up:
        address = up.ready()["listen"]
        with Client(address) as client:
            for number in range(200):
                client.put(b"k%d" % number, number)
            os.kill(shards_of(address)[1]["leader"]["pid"], signal.SIGKILL)
            assert client.mget([b"k%d" % number for number in range(200)]) == list(range(200))
            client.put("after", 1)
        assert [shard["term"] for shard in shards_of(address).values()] == [2, 1]
        assert up.stop() == 0
    assert "process died name=shard-1 reason=SIGKILL" in up.log_text


def test_a_shard_that_hangs_is_replaced(tmp_path):
    with real_up(tmp_path, shards=1, answer_seconds_max="300ms") as up:
        address = up.ready()["listen"]
        with Client(address) as client:
            client.put("a", 1)
            os.kill(shards_of(address)[1]["leader"]["pid"], signal.SIGSTOP)
            up.await_log("process does not answer, killing it", "name=shard-1")
            up.await_log("process serves", "name=shard-1")
            assert client.get("a") == 1
        assert up.stop() == 0


def test_a_killed_supervisor_leaves_nobody_behind(tmp_path):  # FAULTS 27
    with real_up(tmp_path, shards=2) as up:
        address = up.ready()["listen"]
        with Client(address) as client:
            client.put("a", 1)
        below = descendants(up.pid)
        assert len(below) >= 3
        up.signal(signal.SIGKILL)
        for pid in below:
            await_death(pid)
    with real_up(tmp_path) as up:
        with Client(up.ready()["listen"]) as client:
            assert client.get("a") == 1
        assert up.stop() == 0


def test_a_damaged_shard_is_told_and_ends_the_start(tmp_path):  # FAULTS 14
    with real_up(tmp_path, shards=2) as up:
        with Client(up.ready()["listen"]) as client:
            client.batch([("put", b"k%d" % number, number) for number in range(100)])
            client.flush()
        assert up.stop() == 0
    (table,) = (tmp_path / "shard-2").glob("*.sst")
    table.unlink()
    with real_up(tmp_path) as up:
        assert up.wait() == 4
    assert "sherd: shard-2: " in up.log_text
    assert table.name in up.log_text
    assert "Traceback" not in up.log_text


def test_settings_reach_the_processes(tmp_path, monkeypatch):
    config = tmp_path / "sherd.toml"
    config.write_text('[engine]\nfsync = "always"\nmemtable_bytes = "1MiB"\n[limits]\nvalue_bytes_max = "2KiB"\n')
    monkeypatch.setenv("SHERD_ENGINE_FSYNC", "ops:10")
    with real_up(tmp_path / "data", shards=1, config=config, log_level="warning") as up:
        ready = up.ready()
        assert ready["fsync"] == "ops:10"
        with Client(ready["listen"]) as client:
            assert client.status()["fsync"] == "ops:10"
            with pytest.raises(Exception, match="2048"):
                client.put("a", "x" * 3000)
        (shard, *_) = [pid for pid in descendants(up.pid) if b"--memtable-bytes=1MiB" in command_line(pid)]
        assert b"SHERD_ENGINE_FSYNC" not in Path(f"/proc/{shard}/environ").read_bytes()
        assert up.stop() == 0
    assert up.log_text == ""


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_topology_file_says_who_leads(tmp_path):
    with real_up(tmp_path, shards=2) as up:
        address = up.ready()["listen"]
        topology = json.loads((tmp_path / "topology.json").read_text())["topology"]
        with Client(address) as client:
            assert client.topology() == topology
        leaders = {id_: state["replicas"][state["leader"]] for id_, state in topology["shards"].items()}
        assert leaders == {str(id_): shard["leader"]["address"] for id_, shard in shards_of(address).items()}
        assert up.stop() == 0


def test_the_status_lists_every_proxy_with_its_connections(tmp_path):
    """They share one port, so whichever is asked has to know of the others."""
    with real_up(tmp_path, shards=2, proxies=3) as up, contextlib.ExitStack() as stack:
        address = up.ready()["listen"]
        clients = [stack.enter_context(Client(address)) for _ in range(12)]

        def until(condition):
            """The proxies, once every client's proxy tells the same, and ``condition`` holds of it."""
            deadline = time.monotonic() + 30
            while True:
                told = [sorted(tuple(proxy.items()) for proxy in client.status()["proxies"]) for client in clients]
                found = [dict(proxy) for proxy in told[0]]
                if all(one == told[0] for one in told) and condition(found):
                    return found
                assert time.monotonic() < deadline, told

        proxies = until(lambda found: len(found) == 3 and sum(proxy["connections"] for proxy in found) == 12)
        assert {proxy["address"] for proxy in proxies} == {address}
        assert {proxy["pid"] for proxy in proxies} <= set(descendants(up.pid))
        while len(clients) > 5:
            clients.pop().close()
        until(lambda found: len(found) == 3 and sum(proxy["connections"] for proxy in found) == 5)
        killed = proxies[0]["pid"]
        os.kill(killed, signal.SIGKILL)
        after = until(lambda found: len(found) == 3 and killed not in {proxy["pid"] for proxy in found})
        assert len({proxy["pid"] for proxy in after} & {proxy["pid"] for proxy in proxies}) == 2
        assert up.stop() == 0
