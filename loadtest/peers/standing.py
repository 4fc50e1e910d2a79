"""Servers that stand side by side for one section, and those that could not be started, named with the reason."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from peers.generator import Load, drive
from peers.processes import NotServing
from peers.rows import SHERD, Results
from peers.server import Server
from peers.settings import Settings

LOAD_CONNECTIONS = 8
LOAD_PIPELINE = 200

Standing = list[tuple[str, Server]]


@contextlib.contextmanager
def standing(settings: Settings, results: Results, servers: Sequence[Server], folder: str) -> Iterator[Standing]:
    """Start ``servers`` below ``folder``; all that serve are given, and stopped at the end."""
    with contextlib.ExitStack() as stack:
        serving: Standing = []
        for server in servers:
            reason = server.absent()
            if reason is None and not settings.peers and server.name != SHERD:
                reason = "peers were not asked for"
            if reason is None:
                stack.callback(server.stop)
                reason = _start(server, settings.work / folder / server.name.replace(" ", "-"))
            if reason is None:
                serving.append((server.name, server))
            else:
                results.absent[server.name] = reason
        yield serving


def _start(server: Server, directory: Path) -> str | None:
    try:
        server.start(directory)
    except NotServing as error:
        if server.name == SHERD:
            raise
        return str(error)
    return None


def fill(serving: Standing, keys: int, value_bytes: int) -> None:
    """Put every key once into each of them, and bring it to where it would be in the long run."""
    for _, server in serving:
        load = Load("load", LOAD_CONNECTIONS, LOAD_PIPELINE, keys=keys, value_bytes=value_bytes)
        drive(server, load)
        server.into_tables()
    for _, server in serving:
        server.calm_down()
