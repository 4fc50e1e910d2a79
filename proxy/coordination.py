"""Methods that change the cluster: the proxy hands them on to the coordinator that the topology names."""

from collections.abc import Callable, Mapping

from sherd.common.errors import Unavailable
from sherd.proxy.forwarding import Forwarding, Question
from sherd.proxy.params import decode_params
from sherd.proxy.routes import Routes
from sherd.proxy.session import Session

ANSWER_SECONDS_MAX = 600.0
METHODS = ("failover",)


class Coordination:
    """Forwards ``METHODS``."""

    def __init__(self, routes: Routes, forwarding: Forwarding) -> None:
        self._routes = routes
        self._forwarding = forwarding

    @property
    def calls(self) -> Mapping[bytes, Callable[[Session, bytes, bytes], None]]:
        """What carries out each of the methods."""
        return {name.encode(): self._call_of(name) for name in METHODS}

    def _call_of(self, method: str) -> Callable[[Session, bytes, bytes], None]:
        def call(session: Session, msgid: bytes, params: bytes) -> None:
            found = [
                item.decode(errors="replace") if isinstance(item, bytes) else item
                for item in decode_params(params, 0, 16)
            ]
            address = self._routes.topology.coordinator
            if not address:
                raise Unavailable("no coordinator runs: the cluster can't be changed now")
            question = Question(f"the coordinator at {address}", address, method, found, ANSWER_SECONDS_MAX)
            self._forwarding.begin(session, msgid, len(params), question)

        return call
