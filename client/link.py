"""One asyncio connection shared by all concurrent calls of an ``AsyncClient``.

Requests of one loop turn leave in one write; replies are matched by message id as they come. A call that times out or
is cancelled is forgotten, and its late reply dropped; if it had not left yet, it never does. One timer per connection,
set to the earliest deadline, ends the calls that are due.

A connection on which nothing at all came for ``SILENCE_SECONDS`` while calls were waiting is taken for dead when one of
them times out; then all of them lose it.
"""

import asyncio
import math
from typing import Any, NamedTuple, cast

from sherd.client.protocol import ClientProtocol, ProtocolError
from sherd.client.requests import Request
from sherd.client.retry import ConnectionLost, NotSent, TransportError
from sherd.client.stream import KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS
from sherd.common.errors import Timeout
from sherd.common.net.address import Address
from sherd.common.net.keepalive import keep_alive

SILENCE_SECONDS = 5.0


class Waiting(NamedTuple):
    """A call that awaits its reply."""

    future: "asyncio.Future[Any]"
    deadline: float
    """On the loop's clock, seconds; ``math.inf`` for none."""


class Link(asyncio.Protocol):
    """A connection in the making or in use. Everything happens on its loop."""

    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self.address = address
        self.loop = loop
        self._transport: asyncio.Transport | None = None
        self._protocol: ClientProtocol[Waiting] = ClientProtocol()
        self._outbox: list[tuple[int, bytes, asyncio.Future[Any]]] = []
        self._flush_due = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._silent_since: float | None = None  # since when calls have waited and nothing came

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and not self._closed.done()

    @property
    def is_writable(self) -> bool:
        return self._writable.is_set()

    # Calls

    def start(self, request: Request[Any], deadline: float) -> tuple[int, "asyncio.Future[Any]"]:
        """Queue the request for this turn's write; its message id, and the future of its result.

        The future gets the server's WireError, Timeout at the deadline, NotSent or ConnectionLost. Raises what
        packing raises, and NotSent if the connection is gone.
        """
        if not self.is_open:
            raise NotSent(f"the connection to {self.address} is closed")
        future: asyncio.Future[Any] = self.loop.create_future()
        msgid, data = self._protocol.send(request.method, request.params, Waiting(future, deadline))
        self._outbox.append((msgid, data, future))
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)
        if deadline < self._timer_at:
            self._set_timer(deadline)
        return msgid, future

    def forget(self, msgid: int) -> None:
        """The caller does not wait any more."""
        self._protocol.forget(msgid)

    async def writable(self, deadline: float) -> None:
        """Wait while the server takes no more bytes; NotSent at the deadline."""
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                await self._writable.wait()
        except TimeoutError:
            raise NotSent(f"{self.address} takes no more requests") from None

    async def close(self) -> None:
        """Give the connection up and wait until it is."""
        self.abort()
        await asyncio.shield(self._closed)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            keep_alive(sock, KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS)

    def data_received(self, data: bytes) -> None:
        self._silent_since = None
        try:
            replies = self._protocol.receive(data)
        except ProtocolError as error:
            self._lose(f"{self.address}: {error}")
            self.abort()
            return
        for (future, _), error_, result in replies:
            if future.done():
                continue
            if error_ is None:
                future.set_result(result)
            else:
                future.set_exception(error_)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f"the connection to {self.address} broke: {exc}" if exc else f"{self.address} closed the connection"
        self._lose(reason)
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Within

    def _flush(self) -> None:
        self._flush_due = False
        if self._transport is None or self._transport.is_closing():
            return  # its end was seen first: what is in the outbox never leaves, and connection_lost will say so
        outbox, self._outbox = self._outbox, []
        wanted = [data for _, data, future in outbox if not future.done()]
        if not wanted:
            return
        if self._silent_since is None:
            self._silent_since = self.loop.time()
        self._transport.write(wanted[0] if len(wanted) == 1 else b"".join(wanted))

    def _lose(self, reason: str) -> None:
        """No reply will come any more: each call learns whether its request had left."""
        unsent = {msgid for msgid, _, _ in self._outbox}
        self._outbox.clear()
        waiting = [(msgid in unsent, call.future) for msgid, call in self._protocol.calls()]
        self._protocol.forget_all()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._writable.set()
        for was_unsent, future in waiting:
            if not future.done():
                problem: TransportError = NotSent(reason) if was_unsent else ConnectionLost(reason)
                future.set_exception(problem)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(deadline, self._end_due) if deadline < math.inf else None

    def _end_due(self) -> None:
        """The earliest deadline has come: end the calls that are due, and set the timer to the next."""
        now = self.loop.time()
        due = [(msgid, call.future) for msgid, call in self._protocol.calls() if call.deadline <= now]
        for msgid, future in due:
            self._protocol.forget(msgid)
            if not future.done():
                future.set_exception(Timeout(f"no reply from {self.address} in time; the outcome is unknown"))
        if due and self._silent_since is not None and now - self._silent_since >= SILENCE_SECONDS:
            self._lose(f"{self.address} fell silent")
            self.abort()
            return
        self._set_timer(min((call.deadline for _, call in self._protocol.calls()), default=math.inf))
