"""The supervisor with real child processes that follow a script: order, restarts, refusals, signals, leftovers."""

import json
import os
import signal
import socket

import pytest
from support.up_process import await_death, fake_up

from sherd.cluster.keeper import RestartPolicy


@pytest.fixture
def scripts(tmp_path):
    path = tmp_path / "scripts"
    path.mkdir()
    return path


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def starts(scripts, name):
    return [json.loads(line) for line in (scripts / f"{name}.log").read_text().splitlines()]


def test_starts_announces_and_stops_in_order(scripts, data):
    with fake_up(scripts, data, proxies=2) as up:
        ready = up.ready()
        assert ready == {
            "listen": ready["listen"], "http": "off", "shards": "2", "followers": "0", "partition": "hash",
            "fsync": "interval:100ms", "compiled": ready["compiled"],
        }  # fmt: skip
        assert int(ready["listen"].rpartition(":")[2]) > 0
        (shard,) = starts(scripts, "shard-1")
        assert shard["flags"]["data"] == str(data / "shard-1")
        runtime = os.path.dirname(shard["flags"]["listen"].removeprefix("unix:"))
        assert os.stat(runtime).st_mode & 0o777 == 0o700
        assert [starts(scripts, f"proxy-{n}")[0]["flags"]["listen"] for n in (1, 2)] == [ready["listen"]] * 2
        assert up.stop() == 0
    stops = (scripts / "stops.log").read_text().split()
    assert sorted(stops[:2]) == ["proxy-1", "proxy-2"]
    assert sorted(stops[2:]) == ["shard-1", "shard-2"]
    assert not os.path.exists(runtime)


def test_ctrl_c_stops_like_sigterm(scripts, data):
    with fake_up(scripts, data) as up:
        up.ready()
        up.signal(signal.SIGINT)
        assert up.wait() == 0


@pytest.mark.parametrize("name", ["shard-2", "proxy-1"])
def test_a_killed_child_is_started_again(scripts, data, name):
    with fake_up(scripts, data) as up:
        up.ready()
        (first,) = starts(scripts, name)
        os.kill(first["pid"], signal.SIGKILL)
        up.await_log("process died", f"name={name}", "reason=SIGKILL", "restart_seconds=0")
        up.await_log("process serves", f"name={name}")
        first, second = starts(scripts, name)
        assert second["pid"] != first["pid"]
        assert second["flags"]["listen"] == first["flags"]["listen"]
        if name.startswith("shard"):
            assert second["term"] == first["term"] + 1
            assert len(starts(scripts, "shard-1")) == 1
        assert up.stop() == 0


def test_terms_rise_over_runs(scripts, data):
    for _ in range(2):
        with fake_up(scripts, data) as up:
            up.ready()
            assert up.stop() == 0
    assert [start["term"] for start in starts(scripts, "shard-1")] == [1, 2]


def test_children_die_with_a_killed_supervisor(scripts, data):  # FAULTS 27
    with fake_up(scripts, data) as up:
        up.ready()
        pids = [starts(scripts, name)[0]["pid"] for name in ("shard-1", "shard-2", "proxy-1")]
        runtime = os.path.dirname(starts(scripts, "shard-1")[0]["flags"]["listen"].removeprefix("unix:"))
        up.signal(signal.SIGKILL)
        for pid in pids:
            await_death(pid)
    assert os.path.exists(runtime)
    with fake_up(scripts, data) as up:
        up.ready()
        assert not os.path.exists(runtime)
        assert up.stop() == 0


def test_one_supervisor_per_directory(scripts, data):  # FAULTS 27
    with fake_up(scripts, data) as first:
        first.ready()
        with fake_up(scripts, data) as second:
            assert second.wait() == 64
            assert "in use by another `sherd up`" in second.log_text
        assert first.stop() == 0


def test_a_port_in_use_is_told_before_anything_starts(scripts, data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with fake_up(scripts, data, listen=f"127.0.0.1:{port}") as up:
            assert up.wait() != 0
            assert f"cannot listen on 127.0.0.1:{port}: in use" in up.log_text
    assert not (data / "topology.json").exists()  # the next start may ask for another shape
    assert not list(scripts.iterdir())


def test_two_clusters_never_share_a_port(scripts, data, tmp_path):
    with fake_up(scripts, data) as first:
        listen = first.ready()["listen"]
        with fake_up(scripts, tmp_path / "other", listen=listen) as second:
            assert second.wait() != 0
            assert "in use" in second.log_text
        assert first.stop() == 0


@pytest.mark.parametrize("code", [65, 66, 67])
def test_a_lasting_refusal_ends_the_start(scripts, data, code):
    (scripts / "shard-2").write_text(f"refuse {code}")
    with fake_up(scripts, data) as up:
        assert up.wait() == 4
        assert "refused shard-2: shard-2 has been told to refuse" in up.log_text
    assert len(starts(scripts, "shard-2")) == 1
    assert not (scripts / "proxy-1.log").exists()


def test_a_child_that_never_serves_is_given_up(scripts, data):
    (scripts / "proxy-1").write_text("exit 9")
    with fake_up(scripts, data, restart_seconds_min="1ms") as up:
        assert up.wait() == 4
        assert "refused proxy-1: it died 3 times before it served" in up.log_text
        assert "exit code 9" in up.log_text
    assert len(starts(scripts, "proxy-1")) == 3


def test_a_child_that_is_too_slow_to_serve_is_killed(scripts, data):
    (scripts / "shard-1").write_text("hang")
    with fake_up(scripts, data, restart_seconds_min="1ms", ready_seconds_max="500ms") as up:
        assert up.wait() == 4
        assert "did not serve within 0.5 s; SIGKILL" in up.log_text


def test_a_refusal_later_leaves_the_others_serving(scripts, data):
    with fake_up(scripts, data) as up:
        up.ready()
        (scripts / "shard-1").write_text("refuse 66")
        os.kill(starts(scripts, "shard-1")[0]["pid"], signal.SIGKILL)
        up.await_log("process stays down", "name=shard-1")
        os.kill(starts(scripts, "shard-2")[0]["pid"], signal.SIGKILL)
        up.await_log("process serves", "name=shard-2")
        assert up.stop() == 4
    assert "refused shard-1" in up.log_text


def test_a_child_that_dies_again_and_again_is_started_less_often(scripts, data):
    (scripts / "shard-1").write_text("brief 1")
    with fake_up(scripts, data, restart_seconds_min="1ms", restart_seconds_max="4ms") as up:
        pauses = [
            up.await_log(r"restart_seconds=([0-9.]+)", "process died", "name=shard-1", "exit code 1")[1]
            for _ in range(6)
        ]
        assert pauses == ["0", "0.001", "0.002", "0.004", "0.004", "0.004"]
        (scripts / "shard-1").unlink()
        up.ready()
        assert up.stop() == 0


def test_a_second_signal_kills(scripts, data):
    (scripts / "shard-1").write_text("stubborn")
    with fake_up(scripts, data) as up:
        up.ready()
        up.signal(signal.SIGTERM)
        up.await_log("stopping")
        up.signal(signal.SIGINT)
        assert up.wait() == 0
        assert "killing what is left" in up.log_text


def test_a_child_that_does_not_stop_is_killed_in_the_end(scripts, data):
    (scripts / "proxy-1").write_text("stubborn")
    with fake_up(scripts, data, stop_seconds_max="200ms") as up:
        up.ready()
        assert up.stop() == 0
        assert "does not stop, killing it name=proxy-1" in up.log_text
    assert sorted((scripts / "stops.log").read_text().split()) == ["shard-1", "shard-2"]


def test_stopped_while_starting(scripts, data):
    (scripts / "shard-1").write_text("hang")
    with fake_up(scripts, data) as up:
        up.await_log("process serves", "name=shard-2")
        assert up.stop() == 0
    assert not (scripts / "proxy-1.log").exists()


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [
        ({}, {"shards": 3}, ["2 shards, not 3", "--shards 2", "`sherd shards add`"]),
        ({}, {"shards": 1}, ["2 shards, not 1", "`sherd shards remove`"]),
        ({}, {"partition": "range"}, ["partitioned by hash, not range", "--partition hash", "`sherd export`"]),
        ({}, {"split_at": "m"}, ["other boundaries", "`sherd split`"]),
        ({"partition": "range"}, {"partition": "hash"}, ["partitioned by range, not hash"]),
        ({"partition": "range", "split_at": "m"}, {"split_at": "n"}, ["other boundaries", "`sherd split`"]),
    ],
)
def test_an_existing_directory_keeps_its_shape(scripts, data, made, asked, words):
    with fake_up(scripts, data, **made) as up:
        up.ready()
        assert up.stop() == 0
    with fake_up(scripts, data, **asked) as up:
        assert up.wait() == 64
        for word in words:
            assert word in up.log_text
    with fake_up(scripts, data, **{"shards": None, **made}) as up:
        assert up.ready()["shards"] == "2"
        assert up.stop() == 0


def test_split_keys_without_a_partition_mean_ranges(scripts, data):
    with fake_up(scripts, data, split_at="m") as up:
        assert up.ready()["partition"] == "range"
        assert up.stop() == 0
    topology = json.loads((data / "topology.json").read_text())["topology"]
    assert [row[1] for row in topology["layout"]["partitions"]] == ["", b"m".hex()]


def test_a_lost_topology_is_not_made_up(scripts, data):
    (data / "shard-1").mkdir(parents=True)
    with fake_up(scripts, data) as up:
        assert up.wait() == 64
        assert "holds shard-1 but no topology.json" in up.log_text


def test_a_damaged_topology_is_named(scripts, data):
    data.mkdir()
    (data / "topology.json").write_text("{")
    with fake_up(scripts, data) as up:
        assert up.wait() == 64
        assert "topology.json" in up.log_text


def test_a_store_is_not_a_cluster(scripts, data):
    data.mkdir()
    (data / "MANIFEST").write_bytes(b"")
    with fake_up(scripts, data) as up:
        assert up.wait() == 64
        assert "not of a cluster" in up.log_text


def test_pauses_double_up_to_a_bound():
    policy = RestartPolicy(1.0, 1.0, 0.1, 10.0, 30.0, 60.0)
    assert [policy.pause(deaths) for deaths in (1, 2, 3, 4)] == [0.0, 0.1, 0.2, 0.4]
    assert policy.pause(1000) == 10.0
