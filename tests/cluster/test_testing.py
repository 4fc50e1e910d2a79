"""``sherd.testing``: clusters of a test start, restart, die and leave nothing behind."""

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sherd.testing import Cluster, ClusterError

pytest_plugins = ["pytester"]


def test_a_cluster_without_pytest() -> None:
    with Cluster(shards=1) as cluster:
        data = cluster.data
        address = cluster.address
        assert cluster.ready["shards"] == "1"
        with cluster.client() as db:
            db.put("k", 1)
            cluster.restart()
            assert cluster.address == address
            assert db.get("k") == 1
            cluster.kill()
            assert not cluster.is_running
            cluster.start()
            assert db.get("k") == 1

        async def read() -> object:
            async with cluster.async_client() as db:
                return await db.get("k")

        assert asyncio.run(read()) == 1
    assert not data.exists()


def test_a_directory_of_ones_own_stays(tmp_path: Path) -> None:
    for number in range(2):
        with Cluster(shards=1, data=tmp_path / "data") as cluster, cluster.client() as db:
            assert db.get("k") == (None if number == 0 else 0)
            db.put("k", number)
    assert (tmp_path / "data").is_dir()


def test_a_cluster_that_does_not_start_says_why() -> None:
    with pytest.raises(ClusterError, match="followers must be 0 to 8"):
        Cluster(flags=["--followers=9"]).start()
    with pytest.raises(ClusterError, match="memtable_bytes"):
        Cluster(settings={"engine.memtable_bytes": 1}).start()


def test_an_address_is_known_only_after_the_start() -> None:
    cluster = Cluster()
    with pytest.raises(ClusterError, match="not started"):
        _ = cluster.address
    with pytest.raises(ClusterError, match="does not run"):
        _ = cluster.pid
    cluster.close()


ORPHAN = """
import os, sys
from sherd.testing import Cluster
cluster = Cluster(shards=1)
cluster.start()
print(cluster.pid, cluster.address, cluster.data, flush=True)
sys.stdin.read()
"""


def test_a_cluster_dies_with_the_process_that_started_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdout, process.stdin:
        pid, _, data = process.stdout.readline().split()
        supervisor = os.pidfd_open(int(pid))
        process.kill()
        process.wait()
        try:
            assert select.select([supervisor], [], [], 10)[0], "the cluster outlives the process that started it"
        finally:
            os.close(supervisor)
    shutil.rmtree(data)


def test_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_one(sherd_cluster):
            with sherd_cluster.client() as db:
                db.put("k", 1)
                assert db.count() == 1

        def test_each_finds_it_empty(sherd_cluster):
            with sherd_cluster.client() as db:
                assert db.count() == 0
            sherd_cluster.kill()

        def test_started_again(sherd_cluster):
            assert sherd_cluster.is_running
            assert False, "to see the log"

        def test_other_shapes(sherd_cluster_factory):
            cluster = sherd_cluster_factory(shards=1, partition="range")
            assert cluster.ready["partition"] == "range"
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*log of sherd_cluster*"])


def test_the_plugin_costs_nothing_until_used() -> None:
    code = "import sys, pytest, sherd.testing; print(sorted(m for m in sys.modules if m.startswith('sherd')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "['sherd', 'sherd.common', 'sherd.common.version', 'sherd.testing']\n"


def test_a_cluster_stopped_from_outside(sherd_cluster: Cluster) -> None:
    os.kill(sherd_cluster.pid, signal.SIGTERM)
    sherd_cluster.stop()
    assert not sherd_cluster.is_running
    sherd_cluster.start()
    with sherd_cluster.client() as db:
        assert db.ping() == "pong"
