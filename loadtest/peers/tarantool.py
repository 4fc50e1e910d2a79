"""Tarantool: it can be started here, but its protocol is not one the load generator speaks."""

from pathlib import Path

from peers.processes import NotServing
from peers.server import Server
from peers.targets import TARANTOOL


class TarantoolServer(Server):
    """Named in the results, with the reason why it has no figures."""

    name = TARANTOOL
    protocol = "resp"
    programs = ("tarantool",)

    def absent(self) -> str | None:
        return super().absent() or "not driven: the load generator does not speak its protocol, iproto"

    def serve(self, directory: Path) -> None:
        raise NotServing("not driven")
