"""The asyncio shell of a shard's connections: bytes in, bytes out, and a stop to reading when a peer does not read.

A peer that does not take its replies is not read from until it does, so what a shard holds for one connection is
bounded by the replies to what was already read; other connections never notice.
"""

import asyncio
import socket
from typing import cast

from sherd.shard.service import ServiceConnection, ShardService
from sherd.shard.turn import Turn

WRITE_BUFFER_HIGH_BYTES = 8 * 1024 * 1024


class ShardProtocol(asyncio.Protocol):
    """One connection to a shard."""

    def __init__(self, service: ShardService, turn: Turn, connections: "set[ShardProtocol]") -> None:
        self._core = ServiceConnection(service)
        self._turn = turn
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's transports share no base class with asyncio's
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream.set_write_buffer_limits(high=WRITE_BUFFER_HIGH_BYTES)
        self._transport = stream
        self._core.sink.transport = stream
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._core.feed(data)
        self._turn.schedule()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._stopped:
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._core.sink.closing = True
        self._connections.discard(self)

    def stop_reading(self) -> None:
        """Take no further requests."""
        self._stopped = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def abort(self) -> None:
        """Close at once; what is buffered is not sent."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Send what is buffered, then close."""
        if self._transport is not None:
            self._transport.close()
