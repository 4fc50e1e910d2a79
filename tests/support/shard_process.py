"""A shard as a real process, started as a supervisor starts it, and a peer that speaks to it over its socket."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgpack

from sherd.common.ready import Ready, parse_ready
from sherd.common.topology.file import encode_topology
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import LayoutCounter, ShardId, Term
from sherd.common.wire.encode import request
from support.shard_core import Reply

PATIENCE_SECONDS = 30.0


class Peer:
    """A connection to a shard: requests go out as they are asked for, replies come in when they are taken."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(str(path))
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=2**31 - 1)
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, method: str, *params: object) -> int:
        self._next += 1
        self.socket.sendall(request(self._next, method, list(params)))
        return self._next

    def send_all(self, requests: Sequence[tuple[Any, ...]]) -> None:
        """Many requests in one piece: small ones apart would fill the socket long before their bytes do."""
        frames = []
        for method, *params in requests:
            self._next += 1
            frames.append(request(self._next, method, params))
        self.socket.sendall(b"".join(frames))

    def take(self) -> Reply | None:
        """The next reply; None at the end of the connection."""
        while True:
            for frame in self._unpacker:
                return Reply(frame)
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError:
                return None
            if not data:
                return None
            self._unpacker.feed(data)

    def rest(self) -> list[Reply]:
        """All replies up to the end of the connection."""
        found = []
        while (reply := self.take()) is not None:
            found.append(reply)
        return found

    def call(self, method: str, *params: object) -> Any:
        """The result of a request that must not fail; nothing else may be under way."""
        self.send(method, *params)
        reply = self.take()
        assert reply is not None, "the shard closed the connection"
        assert reply.error is None, reply.text
        return reply.result


class ShardProcess:
    """Shard 1 of a cluster of one, in ``folder``; ``start`` it any number of times. Killed when the block ends."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.data = folder / "shard"
        self.topology = folder / "topology.json"
        self.address = folder / "s.sock"
        self.term = 0
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def publish(self, *, term: int, counter: int = 1) -> None:
        """Write the topology file."""
        state = ShardState.led_at(ShardId(1), Term(term), f"unix:{self.address}")
        layout = range_layout(1, (), LayoutCounter(counter))
        self.topology.write_bytes(encode_topology(Topology(counter, "test", layout, {ShardId(1): state})))

    def start(self, *, under: Sequence[str] = (), term: int | None = None, shard: int = 1) -> Ready:
        """Start the process (``under`` another command) with the next term; what it said when it was ready, or not."""
        self.term = self.term + 1 if term is None else term
        self.publish(term=self.term)
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "sherd.cli.main", "shard", "--id", str(shard), "--data", str(self.data)]
        places = ["--listen", f"unix:{self.address}", "--topology", str(self.topology), "--ready-fd", str(writing)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*under, *command, *places, *self._flags], stdout=log, stderr=log, pass_fds=(writing,)
            )
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            return parse_ready(pipe.readline())

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return self._log.read_text()

    def peer(self) -> Peer:
        return Peer(self.address)

    def wait(self) -> int:
        """The exit code, once the process has ended by itself."""
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def resident_bytes(pid: int) -> int:
    """Memory of a process that is not shared or swapped out."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
