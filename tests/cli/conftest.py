"""The ``sherd`` command in this process, and a real cluster for it to talk to."""

import io
import socket
import sys
from dataclasses import dataclass

import pytest
from support.up_process import real_up

from sherd.cli.main import run
from sherd.client.sync import Client


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def command(capfdbinary, monkeypatch):
    """Call ``command("get", "key", stdin=b"...")``: the command line without the process around it."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capfdbinary.readouterr()
        code = run([str(argument) for argument in arguments])
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Result(code, out, err.decode())

    return call


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A real cluster of two shards in range mode; its address."""
    data = tmp_path_factory.mktemp("cluster")
    with real_up(data, shards=2, split_at="m") as up:
        yield up.ready()["listen"]
        assert up.stop() == 0


@pytest.fixture
def on_cluster(command, cluster, monkeypatch):
    """``command`` against the cluster, which is empty at first."""
    monkeypatch.setenv("SHERD_CONNECT", cluster)
    with Client(cluster) as client:
        client.batch([("delete", key) for key in client.scan(keys_only=True)])
    return command


@pytest.fixture
def free_port():
    """A port that nobody listens on, held for the test."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def cluster_free(monkeypatch, free_port):
    """No cluster to be found by default."""
    monkeypatch.setenv("SHERD_CONNECT", f"127.0.0.1:{free_port}")
