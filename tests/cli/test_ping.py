"""``sherd ping``: what answers, what refuses, what is silent, and what is not there."""

import socket
import subprocess
import sys

import pytest
from support.scripted_server import ScriptedServer, refuse, usual

from sherd.cli import main
from sherd.common.exit_codes import ExitCode


def ping(address: str, *flags: str) -> int:
    return main.run(["ping", f"--connect={address}", *flags])


@pytest.fixture
def server():
    server = ScriptedServer()
    yield server
    server.close()


def test_what_answers(server):
    server.script(usual)
    assert ping(server.address) == ExitCode.OK


def test_what_answers_that_it_stops(server, capsys):
    server.script(refuse([21, "UNAVAILABLE the shard is stopping", None]))
    assert ping(server.address) == ExitCode.UNREACHABLE
    assert "stopping" in capsys.readouterr().err


def test_what_is_silent(capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ping(f"127.0.0.1:{silent.getsockname()[1]}", "--timeout=0.1") == ExitCode.UNREACHABLE
    assert "has not answered in 0.1 s" in capsys.readouterr().err


def test_what_is_not_there(capsys):
    with socket.socket() as reserved:  # bound, and nobody listens
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        assert ping(address) == ExitCode.UNREACHABLE
    assert capsys.readouterr().err == f"sherd: {address} does not answer: Connection refused\n"


def test_the_address_comes_from_the_environment(server):
    command = [sys.executable, "-P", "-m", "sherd.cli.main", "ping"]
    done = subprocess.run(command, env={"SHERD_CONNECT": server.address}, timeout=30, check=False)
    assert done.returncode == 0
