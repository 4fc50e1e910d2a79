"""The asyncio shell of a link: opens its connection, greets, moves the bytes, and opens it anew when it breaks.

One task a link, for as long as the process lives. The shard has to answer ``hello`` with its own id before the link
counts as open, so that no request ever goes to a process that is not the shard. Between attempts the topology is read
anew and the pauses double up to ``reconnect_s_max``.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import msgpack

from sherd.common.errors import SherdError, from_wire
from sherd.common.limits import Limits
from sherd.common.logs import event
from sherd.common.net.address import parse_address
from sherd.common.net.keepalive import keep_transport_alive
from sherd.common.types import ShardId
from sherd.common.wire.encode import request
from sherd.common.wire.scanner import FramingError, Scanner
from sherd.common.world import World
from sherd.proxy.introduction import Introduction
from sherd.proxy.link import Link, LinkBroken
from sherd.proxy.routes import Routes

logger = logging.getLogger("sherd.proxy.connector")

LEAVE_S_MAX = 0.25
"""How long a leader that leads no more may take to answer what it was sent."""


class LinkProtocol(asyncio.Protocol):
    """One connection of a link: first the greeting, then everything goes to the link."""

    def __init__(self, link: Link, limits: Limits, monotonic: Callable[[], float]) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[object] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._link = link
        self._monotonic = monotonic
        self._scanner = Scanner(limits, responses=True)
        self._transport: asyncio.Transport | None = None
        self._open = False

    def greet(self, hello: dict[str, object]) -> None:
        """Send ``hello``; ``greeted`` gets the answer."""
        if self._transport is not None:
            self._transport.write(request(0, "hello", [hello]))

    def open(self) -> None:
        """The greeting was satisfying: give the connection to the link."""
        self._link.sink = self._transport
        self._open = True
        self._link.open(self._scanner, self._monotonic())

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has its methods and not its class
        keep_transport_alive(transport)

    def data_received(self, data: bytes) -> None:
        try:
            if self._open:
                self._link.feed(data, self._monotonic())
            else:
                self._take_greeting(data)
        except (FramingError, LinkBroken) as error:
            event(logger, logging.ERROR, "link dropped", shard=self._link.shard, reason=error)
            self.abort()

    def _take_greeting(self, data: bytes) -> None:
        self._scanner.feed(data)
        if not self._scanner.next() or self.greeted.done():
            return
        scanner = self._scanner
        error, result = (
            msgpack.unpackb(field, strict_map_key=False)
            for field in (
                scanner.data[scanner.error_start : scanner.result_start],
                scanner.data[scanner.result_start : scanner.frame_end],
            )
        )
        if error is not None:
            self.greeted.set_exception(from_wire(error))
        else:
            self.greeted.set_result(result)

    def connection_lost(self, error: Exception | None) -> None:
        if self._open:
            self._link.lose(self._monotonic())
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionResetError("the shard closed the connection"))
            self.greeted.exception()
        if not self.closed.done():  # nobody waits any more once the connector was cancelled
            self.closed.set_result(None)


class Connector:
    """Keeps one link open. ``run`` never ends by itself."""

    def __init__(
        self,
        link: Link,
        routes: Routes,
        limits: Limits,
        introduction: Introduction,
        world: World,
    ) -> None:
        self.link = link
        self._routes = routes
        self._limits = limits
        self._introduction = introduction
        self._world = world
        self._protocol: LinkProtocol | None = None
        self._attempt: asyncio.Timeout | None = None
        self._trouble = ""
        self._address = ""
        self._moved = asyncio.Event()
        self._leave_by = 0.0

    def check(self, now: float) -> None:
        """To be called regularly: end what is overdue, drop a silent connection, notice that the leader has moved."""
        if not self.link.expire(now):
            event(logger, logging.WARNING, "link silent", shard=self.link.shard, purpose=self.link.purpose)
            self.drop()
        if self._leader() != self._address:
            self._leave(now)

    def _leave(self, now: float) -> None:
        """The leader has moved: go there once what was sent has been answered, or too long was waited for that.

        A leader that hands over refuses what still comes in; only what is neither answered nor refused is unknown.
        """
        link = self.link
        if self._leave_by == 0.0:
            self._leave_by = now + LEAVE_S_MAX
        if link.up and link.live > 0 and link.purpose == "point" and now < self._leave_by:
            link.barred, link.retry_at = True, self._leave_by
            return
        self._moved.set()
        self.drop()
        if self._attempt is not None and not self._attempt.expired():
            self._attempt.reschedule(0.0)  # a host that is gone would be waited for as long as connecting may take

    def drop(self) -> None:
        """Drop the present connection, if there is one; it is opened anew."""
        if self._protocol is not None:
            self._protocol.abort()

    async def run(self) -> None:
        """Open the connection, wait for its end, again and again."""
        longest = self._routes.bounds.reconnect_s_max
        pause = longest / 16
        while True:
            self._moved.clear()
            self._address = self._leader()
            self._leave_by = 0.0
            if self._address and await self._connect_once(self._address):
                pause = longest / 16
            self._routes.refresh_wanted = True
            try:
                async with asyncio.timeout(pause):
                    await self._moved.wait()
            except TimeoutError:
                pause = min(2 * pause, longest)

    async def _connect_once(self, text: str) -> bool:
        """Whether the connection came to be open; returns when it is closed again."""
        link = self.link
        try:
            async with asyncio.timeout(self._routes.bounds.connect_timeout_s) as self._attempt:
                protocol = await self._greet(text)
        except (OSError, TimeoutError, SherdError) as error:
            if repr(error) != self._trouble:  # else it was told
                self._trouble = repr(error)
                event(
                    logger, logging.INFO, "link not open", shard=link.shard, purpose=link.purpose, reason=self._trouble
                )
            return False
        finally:
            self._attempt = None
        self._protocol = protocol
        try:
            protocol.open()
            link.retry_at = 0.0
            self._trouble = ""
            event(logger, logging.INFO, "link open", shard=link.shard, purpose=link.purpose, address=text)
            await protocol.closed
        finally:
            self._protocol = None
            protocol.abort()
        event(logger, logging.WARNING, "link lost", shard=link.shard, purpose=link.purpose)
        return True

    async def _greet(self, text: str) -> LinkProtocol:
        protocol = await self._world.network.connect(self._protocol_of_link, parse_address(text))
        try:
            protocol.greet(self._introduction.hello(self._routes, self.link.purpose))
            answer = await protocol.greeted
            if not isinstance(answer, dict) or answer.get("shard") != self.link.shard:
                raise ConnectionError(f"{text} is not shard {self.link.shard}: {answer!r}")
        except BaseException:
            protocol.abort()
            raise
        return protocol

    def _protocol_of_link(self) -> LinkProtocol:
        return LinkProtocol(self.link, self._limits, self._world.clock.monotonic)

    def _leader(self) -> str:
        state = self._routes.topology.shards.get(ShardId(self.link.shard))
        if state is None:
            return ""
        replica = self.link.replica
        return state.replicas.get(replica, "") if replica else state.leader_address
