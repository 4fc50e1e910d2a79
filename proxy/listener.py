"""The asyncio shell of client sessions: accepts, moves bytes, and cuts off who is too many, too slow or too far behind.

Several proxies of one host listen on one port with SO_REUSEPORT, and the kernel spreads connections over them.
"""

import asyncio
import logging
from typing import cast

from sherd.common.errors import BadRequest, Overloaded
from sherd.common.limits import Limits
from sherd.common.logs import event
from sherd.common.net.address import Address
from sherd.common.net.keepalive import keep_transport_alive
from sherd.common.net.network import Server
from sherd.common.world import World
from sherd.proxy.bounds import Bounds
from sherd.proxy.outlet import Turn
from sherd.proxy.session import Budget, Dispatcher, Session

logger = logging.getLogger("sherd.proxy.listener")

CHECK_S = 0.25
_ANY_MSGID = b"\x00"


class ClientProtocol(asyncio.Protocol):
    """One client connection."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self.session = listener.new_session()
        # Set before the transport exists: it looks data_received up once, and a read then costs one call less.
        self.data_received = self.session.feed  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's has its methods and not its class
        keep_transport_alive(stream)
        self._listener.admit(self.session, stream)

    def pause_writing(self) -> None:
        self.session.choke()

    def resume_writing(self) -> None:
        self.session.unchoke()

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.dismiss(self.session)


class Listener:
    """Accepts clients and keeps their sessions."""

    def __init__(self, turn: Turn, dispatcher: Dispatcher, limits: Limits, bounds: Bounds, world: World) -> None:
        self._turn = turn
        self._dispatcher = dispatcher
        self._limits = limits
        self._bounds = bounds
        self._network = world.network
        self._budget = Budget(bounds.total_bytes_max)
        self._server: Server | None = None
        self.sessions: dict[Session, None] = {}  # in the order they came
        self.refused = 0
        self._next_check = 0.0

    async def start(self, address: Address) -> Address:
        """Listen at ``address``; returns it with the port that was given. OSError if that is not possible."""
        self._server, bound = await self._network.listen(self._protocol, address, shared=True)
        return bound

    def _protocol(self) -> ClientProtocol:
        return ClientProtocol(self)

    def new_session(self) -> Session:
        """A session for a connection to come."""
        return Session(self._turn, self._dispatcher, self._limits, self._budget)

    def admit(self, session: Session, transport: asyncio.Transport) -> None:
        """The connection of ``session`` is there. If there are too many, it gets one error and is closed."""
        session.sink = transport
        session.name = _peer_of(transport)
        if len(self.sessions) >= self._limits.connections_max:
            self.refused += 1
            full = f"this proxy serves {self._limits.connections_max} connections already"
            session.end(_ANY_MSGID, Overloaded(full))
        transport.set_write_buffer_limits(high=max(1, self._limits.unread_bytes_max // 4))
        self.sessions[session] = None

    def dismiss(self, session: Session) -> None:
        """The connection of ``session`` is gone."""
        session.lose()
        self.sessions.pop(session, None)

    def check(self, now: float) -> None:
        """To be called regularly: cut off clients that take too long to send, or that do not read."""
        if now < self._next_check:
            return
        self._next_check = now + CHECK_S
        bounds = self._bounds
        for session in list(self.sessions):
            session.measure_unread()
            if session.is_late(now, bounds.first_frame_s, bounds.frame_s, bounds.frame_bytes_per_s):
                event(logger, logging.INFO, "client too slow", client=session.name)
                session.end(None, BadRequest("the request took too long to arrive"))

    async def stop(self) -> None:
        """Accept no more, let what is under way finish for at most ``drain_s``, then close every connection."""
        if self._server is not None:
            self._server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._bounds.drain_s
        while any(session.inflight for session in self.sessions) and loop.time() < deadline:
            await asyncio.sleep(0.005)
        self._turn.flush()
        for session in list(self.sessions):
            if session.sink is not None:
                session.sink.close()
        while self.sessions and loop.time() < deadline:
            await asyncio.sleep(0.005)
        for session in list(self.sessions):
            if session.sink is not None:
                session.sink.abort()


def _peer_of(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else "unix"
