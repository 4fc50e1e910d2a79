"""One client's connection, without the I/O: bytes in, requests dispatched, replies collected.

A session reads as long as what it has under way is within its limits: requests and their bytes in flight, and replies
the client has not read. Over a limit it stalls - it asks its sink to stop reading, and keeps what it has already been
given - until under half of it; so a client is slowed down and not refused. Replies over ``unread_bytes_max`` end the
connection of that client alone.

Invariants: ``inflight`` requests have begun and not finished, of ``inflight_bytes``; while ``stalled`` no request is
dispatched; after ``closed`` nothing is.
"""

import logging

import cython

from sherd.common.errors import Overloaded, WireError
from sherd.common.limits import Limits
from sherd.common.wire.encode import error_body
from sherd.common.wire.scanner import FramingError

if cython.compiled:
    from cython.cimports.sherd.common.wire.primitives import items_start, skip
    from cython.cimports.sherd.common.wire.scanner import Scanner
    from cython.cimports.sherd.proxy.outlet import Outlet, Turn
else:
    from sherd.common.wire.primitives import items_start, skip
    from sherd.common.wire.scanner import Scanner
    from sherd.proxy.outlet import Outlet, Turn

logger = logging.getLogger("proxy.session")

_NOTIFICATION = cython.declare(cython.int, 2)
_RESPONSE_HEAD = cython.declare(bytes, b"\x94\x01")
_NIL = cython.declare(bytes, b"\xc0")
_LARGE_BYTES = cython.declare(cython.Py_ssize_t, 64 * 1024)


@cython.cclass
class Budget:
    """Bytes that all connections of this process hold together: requests under way, half frames, unread replies.

    Over ``bytes_max`` new requests and large frames are answered with OVERLOADED.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0


@cython.cclass
class Dispatcher:
    """Carries out requests; a session's view of the router."""

    @cython.cfunc
    def dispatch(self, session: "Session", scanner: Scanner) -> None:
        """Begin the request that ``scanner`` stands at; its answer goes to ``session``, now or later."""
        raise NotImplementedError

    @cython.cfunc
    def look_at_clock(self) -> None:
        """Called before the requests of one piece of input are dispatched."""


@cython.cclass
class Session(Outlet):
    """One client connection. ``feed`` it what the socket gave; what it answers goes to ``sink`` once a turn."""

    def __init__(self, turn: Turn, dispatcher: Dispatcher, limits: Limits, budget: Budget) -> None:
        Outlet.__init__(self, turn)
        self.dispatcher = dispatcher
        self.scanner = Scanner(limits)
        self.budget = budget
        self.inflight = 0
        self.inflight_bytes = 0
        self._inflight_max = limits.inflight_requests_max
        self._inflight_bytes_max = limits.inflight_bytes_max
        self._unread_bytes_max = limits.unread_bytes_max
        self._buffered_bytes = 0
        self._unread_bytes = 0
        self.stalled = self.choked = self.closed = self.ending = False
        self._paused = False
        self.errors_as_text = False
        self.frames = 0
        self._frames_seen = 0
        self.waiting_since = -1.0
        self.name = ""

    def feed(self, data: bytes) -> None:
        """Hand in the next bytes from the client."""
        if self.closed or self.ending:
            return
        self.scanner.feed(data)
        self.pump()

    @cython.ccall
    def pump(self) -> None:
        """Dispatch the requests at hand, up to the limits."""
        self.dispatcher.look_at_clock()
        try:
            while not (self.stalled or self.ending or self.closed) and self.scanner.next():
                self.frames += 1
                if self.scanner.kind != _NOTIFICATION:
                    self.dispatcher.dispatch(self, self.scanner)
        except FramingError as error:
            self.end(error.msgid, error.error)
        self._account_buffered()

    @cython.cfunc
    def _account_buffered(self) -> None:
        buffered: cython.Py_ssize_t = 0 if self.ending or self.closed else self.scanner.buffered_bytes
        self.budget.bytes += buffered - self._buffered_bytes
        self._buffered_bytes = buffered
        if buffered > _LARGE_BYTES and self.budget.bytes > self.budget.bytes_max and not self.stalled:
            self.end(self.scanner.msgid or None, Overloaded("the proxy's memory for requests is used up"))
            self._account_buffered()

    @cython.ccall
    def begin(self, size: cython.Py_ssize_t) -> None:
        """A request of ``size`` bytes is under way."""
        self.inflight += 1
        self.inflight_bytes += size
        self.budget.bytes += size
        if not self.stalled and (
            self.inflight >= self._inflight_max or self.inflight_bytes >= self._inflight_bytes_max
        ):
            self._stall()

    @cython.ccall
    def finish(self, size: cython.Py_ssize_t) -> None:
        """A request of ``size`` bytes has been answered."""
        self.inflight -= 1
        self.inflight_bytes -= size
        self.budget.bytes -= size

    @cython.ccall
    def hold(self, size: cython.Py_ssize_t) -> cython.bint:
        """Whether there is room for ``size`` more bytes of answers to requests under way; if so, it is taken.

        Give them back with ``finish``'s request: they count as bytes of it.
        """
        if self.budget.bytes + size > self.budget.bytes_max:
            return False
        self.inflight_bytes += size
        self.budget.bytes += size
        return True

    @cython.cfunc
    def _stall(self) -> None:
        self.stalled = True
        if self.sink is not None and not self._paused:
            self._paused = True
            self.sink.pause_reading()

    @cython.cfunc
    def _may_resume(self) -> cython.bint:
        return (
            not self.choked
            and 2 * self.inflight < self._inflight_max
            and 2 * self.inflight_bytes < self._inflight_bytes_max
        )

    def choke(self) -> None:
        """The client reads more slowly than it is answered: take no more requests until ``unchoke``."""
        self.choked = True
        self._stall()

    def unchoke(self) -> None:
        """The client has read most of what it was sent."""
        self.choked = False
        self.turn.touch(self)

    @cython.ccall
    def reply(self, msgid: bytes, result: bytes) -> None:
        """Answer request ``msgid`` with an encoded result."""
        if self.closed:
            return
        self.add_range(_RESPONSE_HEAD, 0, 2)
        self.add_range(msgid, 0, len(msgid))
        self.add_range(_NIL, 0, 1)
        self.add_range(result, 0, len(result))

    @cython.ccall
    def fail(self, msgid: bytes, error: WireError) -> None:
        """Answer request ``msgid`` with a WireError."""
        if self.closed:
            return
        encoded: bytes = error_body(error, self.errors_as_text)
        self.add_range(_RESPONSE_HEAD, 0, 2)
        self.add_range(msgid, 0, len(msgid))
        self.add_range(encoded, 0, len(encoded))

    @cython.cfunc
    def forward(
        self, msgid: bytes, data: bytes, error: cython.Py_ssize_t, result: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> None:
        """Answer request ``msgid`` with the error and result of a shard's response, byte for byte."""
        if self.closed:
            return
        self.add_range(_RESPONSE_HEAD, 0, 2)
        self.add_range(msgid, 0, len(msgid))
        if self.errors_as_text and data[error] != 0xC0:
            start: cython.Py_ssize_t = skip(data, items_start(data, error, end), end, 0)
            self.add_range(data, start, skip(data, start, end, 0))
            self.add_range(data, result, end)
        else:
            self.add_range(data, error, end)

    @cython.ccall
    def flush(self) -> None:
        """Write what was collected; go on reading if there is room again. Called by the turn."""
        data: bytes = self.take()
        if self.closed or self.sink is None:
            return
        if data:
            self.sink.write(data)
        self.measure_unread()
        if self.ending and not self.closed:
            self.sink.close()
        elif self.stalled and not self.closed and self._may_resume():
            self.stalled = False
            self.pump()
            if not self.stalled and not self.closed:
                self._paused = False
                self.sink.resume_reading()

    @cython.ccall
    def measure_unread(self) -> None:
        """Count what the client has not read; over the limit it is cut off."""
        if self.sink is None:
            return
        unread: cython.Py_ssize_t = self.sink.get_write_buffer_size()
        self.budget.bytes += unread - self._unread_bytes
        self._unread_bytes = unread
        if unread > self._unread_bytes_max:
            logger.warning("client cut off peer=%s unread_bytes=%d", self.name, unread)
            self.sink.abort()
            self.lose()

    def end(self, msgid: bytes | None, error: WireError) -> None:
        """Close the connection after what is on its way out and, if ``msgid`` is known, this error."""
        if msgid is not None:
            self.fail(msgid, error)
        self.ending = True
        self.turn.touch(self)

    @cython.ccall
    def lose(self) -> None:
        """The connection is gone: nothing more is read or written. Requests under way go on and are not answered."""
        if self.closed:
            return
        self.closed = True
        self.sink = None
        self.take()
        self.budget.bytes -= self._unread_bytes + self._buffered_bytes
        self._unread_bytes = self._buffered_bytes = 0

    def is_late(self, now: float, first_frame_s: float, frame_s: float, rate: float) -> bool:
        """Whether the client takes too long: for its first frame, or for the rest of a frame it has begun.

        A frame may take ``frame_s`` and beyond it the time its bytes need at ``rate`` bytes a second. To be called
        regularly with the present time; what counts is how long it has been waiting for at these calls.
        """
        if self.stalled or self.closed or not (self.frames == 0 or self.scanner.mid_frame):
            self.waiting_since = -1.0
            return False
        if self.waiting_since < 0 or self._frames_seen != self.frames:
            self.waiting_since = now
            self._frames_seen = self.frames
        if not self.scanner.mid_frame:
            return now - self.waiting_since > first_frame_s
        return now - self.waiting_since > frame_s + self.scanner.buffered_bytes / rate
