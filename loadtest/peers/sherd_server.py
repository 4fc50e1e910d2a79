"""Sherd as its users start it: ``sherd up`` with four shards behind one proxy, no followers."""

import sys
from pathlib import Path

from peers.rows import SHERD
from peers.server import Server
from sherd import Client

SHARDS = 4
FSYNC = "interval:1s"


class SherdServer(Server):
    """One cluster; ``fsync`` as of ``sherd up``."""

    name = SHERD
    protocol = "msgpack"

    def __init__(self, fsync: str = FSYNC) -> None:
        super().__init__()
        self._fsync = fsync

    def serve(self, directory: Path) -> None:
        options = [f"--data={directory / 'data'}", "--listen=127.0.0.1:0", f"--shards={SHARDS}", "--followers=0"]
        command = [
            sys.executable,
            "-P",
            "-m",
            "sherd.cli.main",
            "up",
            *options,
            "--log-level=warning",
            f"--fsync={self._fsync}",
        ]
        ready = self.spawn(command, directory, "sherd").wait_for_line("sherd ready ")
        self.address = dict(field.split("=", 1) for field in ready.split()[2:])["listen"]

    def into_tables(self) -> None:
        with Client(self.address) as client:
            client.flush()
            client.compact()

    def empty_memtables(self) -> None:
        with Client(self.address) as client:
            client.flush()
