"""The connections of one blocking client in one process.

At most ``connections_max`` are open; a caller takes one, has it alone, and gives it back; the one given back last is
taken first, so that a single thread uses a single connection. A caller that finds none free waits until one is or its
deadline comes. An idle connection that shows any sign of life is at its end (a server sends nothing unasked) and is
replaced before a request is risked on it.

A pool never outlives a fork: the child makes its own (see ``Client``) and ``abandon``\\ s this one, which closes its
descriptors without a word to the server. Locks come from ``threading`` when the pool is made, so gevent's serve.
"""

import threading
import time

from sherd.client.addresses import Addresses
from sherd.client.retry import NotSent
from sherd.client.stream import Stream, open_socket
from sherd.common.errors import StoreClosed


class Pool:
    """Connections to any of the addresses. Thread-safe."""

    __slots__ = ("_addresses", "_changed", "_closed", "_connect_seconds", "_connections_max", "_idle", "_open")

    def __init__(self, addresses: Addresses, connections_max: int, connect_seconds: float) -> None:
        self._addresses = addresses
        self._connections_max = connections_max
        self._connect_seconds = connect_seconds
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[Stream] = []
        self._open = 0  # idle, taken, and being connected
        self._closed = False

    def take(self, deadline: float) -> Stream:
        """A connection for the caller alone. NotSent if there is none by the deadline or no server answers."""
        while True:
            with self._changed:
                self._check_open()
                stream = self._idle.pop() if self._idle else None
                if stream is None:
                    if self._open < self._connections_max:
                        self._open += 1
                        break
                    self._wait(deadline)
                    continue
            try:
                quiet = stream.is_quiet
            except BaseException:  # gevent's poll lets others run, and a greenlet may be killed meanwhile
                self.discard(stream)
                raise
            if quiet:
                return stream
            self.discard(stream)
        try:
            return self._connect(deadline)
        except BaseException:
            self._freed()
            raise

    def give_back(self, stream: Stream) -> None:
        """The caller is done with a connection, which others get if it is in order."""
        with self._changed:
            if stream.in_order and not self._closed:
                self._idle.append(stream)
                self._changed.notify()
                return
        self.discard(stream)

    def discard(self, stream: Stream) -> None:
        """The caller is done with a connection that can't be used again."""
        stream.close()
        self._freed()

    def failed(self, stream: Stream) -> None:
        """The connection broke or fell silent: other addresses come first for a while."""
        with self._changed:
            self._addresses.failed(stream.address, time.monotonic())

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back. Waiting callers get StoreClosed."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._open -= len(idle)
            self._changed.notify_all()
        for stream in idle:
            stream.close()

    def abandon(self) -> None:
        """After a fork, in the child: close the copies of the parent's descriptors. The lock may be held by a thread
        that does not exist here, so it is not touched."""
        idle, self._idle = self._idle, []
        for stream in idle:
            stream.close()

    def _freed(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def _wait(self, deadline: float) -> None:
        seconds = deadline - time.monotonic()
        if seconds <= 0 or not self._changed.wait(None if deadline == float("inf") else seconds):
            self._check_open()
            if not self._idle and self._open >= self._connections_max:
                raise NotSent(f"all {self._connections_max} connections are in use by other threads")

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the client is closed")

    def _connect(self, deadline: float) -> Stream:
        with self._changed:
            addresses = self._addresses.in_order(time.monotonic())
        problems: list[str] = []
        for address in addresses:
            seconds = min(self._connect_seconds, deadline - time.monotonic())
            if seconds <= 0:
                problems.append(f"{address}: no time left")
                continue
            try:
                stream = Stream(address, open_socket(address, seconds))
            except OSError as error:
                problems.append(f"{address}: {error.strerror or error}")
                with self._changed:
                    self._addresses.failed(address, time.monotonic())
                continue
            with self._changed:
                self._addresses.reached(address)
            return stream
        raise self._addresses.unreachable(problems)
