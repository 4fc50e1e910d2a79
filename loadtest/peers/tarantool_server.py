"""Tarantool with its LSM engine, vinyl: one process, no proxy hop; through its own protocol, iproto.

``tarantool.lua`` says how it is set up.
"""

import socket
from pathlib import Path
from typing import Any

import msgpack

from peers.processes import NotServing, free_ports
from peers.server import Server
from peers.targets import TARANTOOL, TARANTOOL_FSYNC

SCRIPT = Path(__file__).with_name("tarantool.lua")
GREETING_BYTES, SIZE_BYTES = 128, 5
CALL = 0x0A
SETTLE_SECONDS_MAX = 300.0


class TarantoolServer(Server):
    """``wal_mode`` write: what is answered is in the page cache, as with Sherd's ``interval:1s``, but never synced."""

    name = TARANTOOL
    protocol = "iproto"
    programs = ("tarantool",)
    wal_mode = "write"

    def serve(self, directory: Path) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        command = ["tarantool", str(SCRIPT), self.address, self.wal_mode]
        self.spawn(command, directory, "tarantool").wait_for_line("ready")

    def into_tables(self) -> None:
        call(self.address, "into_runs", True)

    def empty_memtables(self) -> None:
        call(self.address, "into_runs", False)


class TarantoolFsyncServer(TarantoolServer):
    """A sync before every reply, shared by the replies of one batch of its log."""

    name = TARANTOOL_FSYNC
    wal_mode = "fsync"


def call(address: str, function: str, *arguments: object) -> Any:
    """The first result of a stored function, called as the guest. Raises NotServing with the server's words."""
    host, _, port = address.rpartition(":")
    request = msgpack.packb({0: CALL, 1: 0}) + msgpack.packb({0x22: function, 0x21: list(arguments)})
    with socket.create_connection((host, int(port)), SETTLE_SECONDS_MAX) as sock, sock.makefile("rb") as answers:
        sock.sendall(msgpack.packb(len(request)) + request)
        size = answers.read(GREETING_BYTES + SIZE_BYTES)[GREETING_BYTES:]
        if len(size) < SIZE_BYTES:
            raise NotServing(f"tarantool closed the connection instead of {function}")
        reply = msgpack.Unpacker(strict_map_key=False)
        reply.feed(answers.read(msgpack.unpackb(size)))
    header, body = reply
    if header[0]:
        raise NotServing(f"tarantool cannot {function}: {body[0x31]}")
    return body[0x30][0]
