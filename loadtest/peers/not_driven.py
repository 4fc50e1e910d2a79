"""Peers that have targets and no figures: Tarantool, whose protocol the load generator does not speak, and others."""

from pathlib import Path

from peers.processes import NotServing
from peers.server import Server
from peers.targets import C_FORWARDER, TARANTOOL, VSHARD

NOT_COMPARED = {
    VSHARD: "not driven, as Tarantool itself; its Lua module is no part of Debian",
    C_FORWARDER: "not part of this comparison: a limit of the machine, not a store",
}
"""Peers of targets that nothing here starts, with the reason."""


class TarantoolServer(Server):
    """Named in the results, with the reason why it has no figures."""

    name = TARANTOOL
    protocol = "resp"
    programs = ("tarantool",)

    def absent(self) -> str | None:
        return super().absent() or "not driven: the load generator does not speak its protocol, iproto"

    def serve(self, directory: Path) -> None:
        raise NotServing("not driven")
