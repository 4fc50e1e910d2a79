"""``ask_replica``: a question to one replica of a shard, be it the leader or a follower, for tools that compare and
mend them. Clients know only proxies; these know from the topology where every replica is.

``[shard, replica, method, [params ...]]``; the result is the replica's.
"""

from collections.abc import Callable, Mapping

from sherd.common.errors import BadRequest, Unavailable
from sherd.common.types import ShardId
from sherd.proxy.forwarding import Forwarding, Question
from sherd.proxy.params import decode_params
from sherd.proxy.routes import Routes
from sherd.proxy.session import Session

METHODS = frozenset({"compare", "digest", "compare_end", "rebuild", "followers", "position"})


class Relay:
    """Has replicas asked ``METHODS``."""

    def __init__(self, routes: Routes, forwarding: Forwarding) -> None:
        self._routes = routes
        self._forwarding = forwarding

    @property
    def calls(self) -> Mapping[bytes, Callable[[Session, bytes, bytes], None]]:
        """What carries out the method."""
        return {b"ask_replica": self._call}

    def _call(self, session: Session, msgid: bytes, params: bytes) -> None:
        self._forwarding.begin(session, msgid, len(params), self._read(params))

    def _read(self, params: bytes) -> Question:
        match decode_params(params, 4, 4):
            case [int(shard), bytes(name), bytes(method), list(arguments)]:
                pass
            case _:
                raise BadRequest("ask_replica takes a shard, a replica's name, a method and an array of params")
        if method.decode(errors="replace") not in METHODS:
            raise BadRequest(f"replicas are asked {', '.join(sorted(METHODS))}, not {method[:64]!r}")
        state = self._routes.topology.shards.get(ShardId(shard))
        replica = name.decode(errors="replace")
        if state is None or replica not in state.replicas:
            raise BadRequest(f"there is no replica {replica[:64]!r} of a shard {shard}")
        address = state.replicas[replica]
        whom = f"replica {replica} of shard {shard}"
        if not address:
            raise Unavailable(f"{whom} is not up")
        seconds_max = self._routes.bounds.request_timeout_s
        return Question(f"{whom} at {address}", address, method.decode(), arguments, seconds_max)
