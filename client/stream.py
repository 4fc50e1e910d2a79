"""One blocking connection to a server, and the two ways to use it: one request, or many in a row.

Only ``socket``, ``select`` and ``time`` are used, looked up when called, so that gevent's patched ones serve as well.
A connection belongs to one caller at a time (the pool sees to that). When a call ends in anything but replies to all it
sent, the connection can't be used again: late replies then die with it.
"""

import select
import socket
import time
from typing import Any

from sherd.client.exchange import UNANSWERED, UNSENT, Exchange
from sherd.client.protocol import ClientProtocol, ProtocolError, Reply
from sherd.client.requests import Request
from sherd.client.retry import ConnectionLost, NotSent
from sherd.common.errors import Timeout, WireError
from sherd.common.net.address import Address
from sherd.common.net.keepalive import keep_alive

KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS = 15, 5  # a dead server is found in 30 s
_RECEIVE_BYTES = 256 * 1024
_WINDOW_REQUESTS = 1_000
"""Requests sent ahead of their replies: far below what makes a server stop reading, so that sending can't block for
good while the server waits for its replies to be read."""
_WINDOW_BYTES = 256 * 1024


def open_socket(address: Address, seconds: float) -> socket.socket:
    """A connected socket; OSError (TimeoutError among them) if there is none within ``seconds``."""
    if not address.is_unix:
        sock = socket.create_connection((address.host, address.port), timeout=seconds)
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
    try:
        keep_alive(sock, KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS)
    except BaseException:
        sock.close()
        raise
    return sock


class Stream:
    """A blocking connection. ``deadline`` is always on ``time.monotonic``; ``math.inf`` is none."""

    __slots__ = ("_buffer", "_poll", "_protocol", "_seconds", "_sock", "_view", "address")

    def __init__(self, address: Address, sock: socket.socket) -> None:
        self.address = address
        self._sock = sock
        self._buffer = bytearray(_RECEIVE_BYTES)  # kept: a fresh one for each reply costs more than the reply
        self._view = memoryview(self._buffer)
        self._protocol: ClientProtocol[int] = ClientProtocol()
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self._seconds: float | None = -1.0  # the socket's present timeout; -1 = not known

    @property
    def is_quiet(self) -> bool:
        """True if nothing has come since the last reply: what does come to an idle connection is its end."""
        return not self._poll.poll(0)

    def close(self) -> None:
        self._sock.close()

    def call(self, request: Request[Any], deadline: float) -> Any:
        """The decoded result. Raises the server's WireError, Timeout at the deadline, NotSent or ConnectionLost.

        After any exception but the server's WireError (or what decoding the result raised) the connection must be
        closed; ``in_order`` tells.
        """
        _, data = self._protocol.send(request.method, request.params, 0)
        self._send(data, deadline, whole=True)
        while True:
            for reply in self._replies(deadline):
                if reply.error is not None:
                    raise reply.error
                return reply.result

    @property
    def in_order(self) -> bool:
        """True if every request sent on this connection has had its reply."""
        return not self._protocol.pending

    def exchange(self, exchange: Exchange, deadline: float) -> None:
        """Send what is unsent of an exchange, in order, and put a result or an exception in each one's place.

        Requests go out in windows, a window ahead of the replies. Raises as ``call`` does; the exchange then knows
        what was answered, sent and unsent.
        """
        waiting = exchange.unsent()
        sent = 0
        while sent < len(waiting) or self._protocol.pending:
            while sent < len(waiting) and self._protocol.pending <= _WINDOW_REQUESTS:
                sent += self._send_window(exchange, waiting[sent : sent + _WINDOW_REQUESTS], deadline)
            if self._protocol.pending:
                for reply in self._replies(deadline):
                    exchange.outcomes[reply.call] = reply.result if reply.error is None else reply.error

    def _send_window(self, exchange: Exchange, positions: list[int], deadline: float) -> int:
        """Send the first few of ``positions``, a window's worth; how many that was."""
        parts: list[bytes] = []
        count = total = 0
        for position in positions:
            request = exchange.requests[position]
            count += 1
            try:
                _, data = self._protocol.send(request.method, request.params, position)
            except (TypeError, WireError) as error:
                exchange.outcomes[position] = error
                continue
            exchange.outcomes[position] = UNANSWERED
            parts.append(data)
            total += len(data)
            if total >= _WINDOW_BYTES:
                break
        try:
            if parts:
                self._send(b"".join(parts), deadline, whole=count == 1)
        except NotSent:
            exchange.outcomes[positions[0]] = UNSENT
            raise
        return count

    def _send(self, data: bytes, deadline: float, *, whole: bool) -> None:
        """``whole``: it is one request, which no server executes before it has the last byte of it."""
        try:
            self._set_deadline(deadline)
            self._sock.sendall(data)
        except OSError as error:
            problem = f"the connection to {self.address} broke: {error}"
            if whole:
                raise NotSent(problem) from error
            raise ConnectionLost(problem) from error

    def _replies(self, deadline: float) -> list[Reply[int]]:
        try:
            return self._protocol.receive(self._receive(deadline))
        except ProtocolError as error:
            raise ConnectionLost(f"{self.address}: {error}") from error

    def _receive(self, deadline: float) -> bytes:
        try:
            self._set_deadline(deadline)
            size = self._sock.recv_into(self._buffer)
        except TimeoutError:
            raise Timeout(f"no reply from {self.address} in time; the outcome is unknown") from None
        except OSError as error:
            raise ConnectionLost(f"the connection to {self.address} broke: {error}") from error
        if not size:
            raise ConnectionLost(f"{self.address} closed the connection")
        return bytes(self._view[:size])

    def _set_deadline(self, deadline: float) -> None:
        """Have the socket time out at the deadline; a difference of milliseconds is not worth a system call."""
        seconds = None if deadline == float("inf") else deadline - time.monotonic()
        if seconds is not None and seconds <= 0:
            raise TimeoutError("the deadline has passed")
        present = self._seconds
        if seconds is None or present is None or abs(present - seconds) > max(0.002, seconds / 256):
            self._sock.settimeout(seconds)
            self._seconds = seconds
