"""Processes whose topology is in etcd, at their start and end: what they wait for, refuse, and tell health checks."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.etcd_process import EtcdMember
from support.up_process import UpProcess

from sherd.common.exit_codes import ExitCode

SHERD = (sys.executable, "-P", "-m", "sherd.cli.main")
WAITS = "waiting for a topology"


def start(etcd: EtcdMember, prefix: str, *arguments: str) -> UpProcess:
    environ = {**os.environ, "SHERD_ETCD_ENDPOINTS": etcd.url, "SHERD_ETCD_PREFIX": prefix}
    return UpProcess([*SHERD, *arguments], environ)


def ping(address: str) -> int:
    return subprocess.run([*SHERD, "ping", f"--connect={address}"], timeout=30, check=False).returncode


@pytest.mark.parametrize("role", ["proxy", "shard"])
def test_who_waits_for_a_topology_stops_when_told_to(etcd: EtcdMember, prefix: str, role: str, tmp_path: Path) -> None:
    flags = ["--id=1", f"--data={tmp_path / 'data'}"] if role == "shard" else []
    with start(etcd, prefix, role, "--listen=127.0.0.1:0", *flags) as process:
        process.await_log(WAITS)
        process.signal(signal.SIGTERM)
        process.await_log("stopping before a topology was seen")
        assert process.wait() == 0, process.log_text


def test_one_coordinates_another_stands_by_and_both_answer(etcd: EtcdMember, prefix: str) -> None:
    with start(etcd, prefix, "coordinator", "--listen=127.0.0.1:0", "--shards=1") as active:
        first = active.await_log(r"coordinator runs .*address=(\S+)")[1]
        active.await_log("coordinating")
        with start(etcd, prefix, "coordinator", "--listen=127.0.0.1:0", "--name=coordinator-2") as other:
            second = other.await_log(r"coordinator runs .*address=(\S+)")[1]
            assert ping(first) == ping(second) == 0
            assert active.stop() == 0, active.log_text
            assert ping(first) == ExitCode.UNREACHABLE
            other.await_log("coordinating")
            assert ping(second) == 0
            assert other.stop() == 0, other.log_text


def test_a_coordinator_refuses_another_shape(etcd: EtcdMember, prefix: str) -> None:
    with start(etcd, prefix, "coordinator", "--listen=127.0.0.1:0", "--shards=2") as first:
        first.await_log("topology made")
        assert first.stop() == 0
    with start(etcd, prefix, "coordinator", "--listen=127.0.0.1:0", "--shards=3") as second:
        assert second.wait() == ExitCode.BAD_CONFIG
        assert "holds a cluster of 2 shards, not 3" in second.log[-1]


def test_an_address_that_is_taken(etcd: EtcdMember, prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"--listen=127.0.0.1:{taken.getsockname()[1]}"
        with start(etcd, prefix, "coordinator", listen) as process:
            assert process.wait() == ExitCode.ADDRESS_TAKEN
            assert "already in use" in process.log[-1]
