"""The asyncio shell of a shard's connections: bytes in, bytes out, and a stop to reading when a peer is owed too much.

A peer is not read from while its replies don't leave: because it doesn't take them (the transport's buffer is full), or
because they are held and there are too many (the core is stalled). So what a shard holds for one connection is bounded,
and other connections never notice. A peer that takes nothing for ``UNREAD_SECONDS_MAX`` is cut off, as is one that has
not sent a whole request ``FIRST_FRAME_SECONDS_MAX`` after it came.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import cast

from sherd.common.logs import event
from sherd.common.net.keepalive import keep_transport_alive
from sherd.shard.linked_proxies import LinkedProxy
from sherd.shard.service import ServiceConnection, ShardService
from sherd.shard.turn import Turn

log = logging.getLogger(__name__)

WRITE_BUFFER_HIGH_BYTES = 8 << 20
UNREAD_SECONDS_MAX = 30.0
FIRST_FRAME_SECONDS_MAX = 30.0


class Connections:
    """The open connections of one shard, ``most`` at a time; a further one is closed at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[ShardProtocol, None] = {}  # in the order they came
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> "Iterator[ShardProtocol]":
        return iter(list(self._open))

    def add(self, connection: "ShardProtocol") -> bool:
        """Whether there is room for it."""
        if len(self._open) >= self._most:
            return False
        self._open[connection] = None
        self._empty.clear()
        return True

    def discard(self, connection: "ShardProtocol") -> None:
        self._open.pop(connection, None)
        if not self._open:
            self._empty.set()

    async def gone(self, timeout_seconds: float) -> bool:
        """Wait until all are closed; False if some are not by then."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True


class ShardProtocol(asyncio.Protocol):
    """One connection to a shard."""

    def __init__(self, service: ShardService, turn: Turn, connections: Connections) -> None:
        self._core = ServiceConnection(service)
        self._turn = turn
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._full = False  # the transport's buffer
        self._stopped = False
        self._unread_bytes = 0
        self._unread_timer: asyncio.TimerHandle | None = None
        self._first_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's transports share no base class with asyncio's
        if not self._connections.add(self):
            event(log, logging.WARNING, "too many connections, one is refused", connections=len(self._connections))
            stream.abort()
            return
        keep_transport_alive(stream)
        stream.set_write_buffer_limits(high=WRITE_BUFFER_HIGH_BYTES)
        self._transport = stream
        self._core.sink.outlet = self
        self._first_timer = self._loop.call_later(FIRST_FRAME_SECONDS_MAX, self._check_greeted)

    def data_received(self, data: bytes) -> None:
        self._core.feed(data)
        if self._core.stalled:
            self._choose_reading()
        self._turn.schedule()

    def send(self, data: bytes) -> None:
        """Of the turn: replies that may leave. Closes after the last one, if that was asked for."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if data:
            transport.write(data)
        core = self._core
        if core.sink.closing:
            if not core.sink.held_bytes:
                transport.close()
        elif core.stalled:
            self._loop.call_soon(self._go_on)

    def pause_writing(self) -> None:
        self._full = True
        self._choose_reading()
        if self._transport is not None:
            self._unread_bytes = self._transport.get_write_buffer_size()
            self._unread_timer = self._loop.call_later(UNREAD_SECONDS_MAX, self._check_unread)

    def resume_writing(self) -> None:
        self._full = False
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._core.sink.closing = True
        self._core.sink.outlet = None
        self._transport = None
        for timer in (self._unread_timer, self._first_timer):
            if timer is not None:
                timer.cancel()
        self._connections.discard(self)

    @property
    def proxy(self) -> LinkedProxy | None:
        """What the peer says of the proxy it belongs to; None if it is none, or has not said."""
        return self._core.proxy

    def stop_reading(self) -> None:
        """Take no further requests."""
        self._stopped = True
        self._choose_reading()

    def abort(self) -> None:
        """Close at once; what is buffered is not sent."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Send what is buffered, then close."""
        if self._transport is not None:
            self._transport.close()

    def _go_on(self) -> None:
        """Execute requests that wait, if they may, and read again if nothing is in the way."""
        if self._full or self._stopped or self._transport is None:
            return
        if self._core.stalled:
            self._core.go_on()
            self._turn.schedule()
        self._choose_reading()

    def _choose_reading(self) -> None:
        wanted = not (self._full or self._stopped or self._core.stalled)
        if self._transport is None or self._transport.is_closing() or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _check_unread(self) -> None:
        if self._transport is None:
            return
        unread = self._transport.get_write_buffer_size()
        if unread < self._unread_bytes:
            self._unread_bytes = unread
            self._unread_timer = self._loop.call_later(UNREAD_SECONDS_MAX, self._check_unread)
            return
        event(log, logging.WARNING, "peer does not read and is cut off", peer=self._core.peer, unread_bytes=unread)
        self._transport.abort()

    def _check_greeted(self) -> None:
        if not self._core.greeted:
            event(log, logging.WARNING, "peer sends no request and is cut off")
            self.abort()
