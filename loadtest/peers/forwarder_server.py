"""The limit of any proxy here, in C: a forwarder before four servers that store nothing, over unix sockets.

What they are, and are not, is said in ``forwarder.c`` and ``echo_server.c``; they are compiled when they are started.
The load generator checks their values as everybody's: it is given those that it would have put.
"""

import random
import subprocess
from pathlib import Path

from peers.processes import NotServing
from peers.server import Server
from peers.targets import C_FORWARDER
from sherd.cli.bench.values import POOL_BYTES_MIN, POOL_SEED

ECHO_SERVERS = 4
COMPILE = ("gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
SOURCES = Path(__file__).parent
POOL_BYTES = 1 << 17
"""Of the generator's pool, which suffices for values up to that size."""


class ForwarderServer(Server):
    """Nothing is kept: it belongs beside a store as a limit, not as a rival."""

    name = C_FORWARDER
    protocol = "resp"
    programs = ("gcc",)

    def serve(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for program in ("forwarder", "echo_server"):
            build(program, directory)
        (directory / "pool").write_bytes(random.Random(POOL_SEED).randbytes(POOL_BYTES_MIN)[:POOL_BYTES])
        sockets = [f"echo-{number}" for number in range(ECHO_SERVERS)]  # a whole path may be too long for a socket
        for name in sockets:
            self.spawn([str(directory / "echo_server"), name, "pool"], directory, name).wait_for_line("ready")
        forwarder = self.spawn([str(directory / "forwarder"), *sockets], directory, "forwarder-log")
        self.address = f"127.0.0.1:{forwarder.wait_for_line('port ').split()[1]}"


def build(program: str, directory: Path) -> None:
    """Compile one of the programs into ``directory``; no warning is let pass. Raises NotServing."""
    command = [*COMPILE, "-o", str(directory / program), str(SOURCES / f"{program}.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise NotServing(f"{program}.c does not compile: {done.stderr.strip()}")
