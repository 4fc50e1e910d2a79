"""When requests are due under a fixed rate: evenly spaced, dealt to the connections in turn.

Request i is due i / rate seconds after the start, on connection i modulo their number, whatever happened to those
before it. Its latency counts from then: a server that pauses is charged for every request that should have been served
meanwhile, not only for those in flight ("coordinated omission").
"""

import cython


@cython.final
@cython.cclass
class Schedule:
    """The times, in nanoseconds of ``ticks.now_ns``. ``next`` is the first request not dealt yet."""

    def __init__(self, rate: float, lanes: int) -> None:
        self._interval_ns = 1e9 / rate
        self._lanes = lanes
        self._start = 0
        self.next = 0

    @cython.ccall
    def begin(self, now: cython.ulonglong) -> None:
        """The first request is due now."""
        self._start = now

    @cython.ccall
    @cython.exceptval(-1)
    def due_at(self, request: cython.ulonglong) -> cython.ulonglong:
        """When the request of this number is due."""
        return self._start + cython.cast(cython.ulonglong, request * self._interval_ns)

    @cython.ccall
    @cython.exceptval(-1)
    def due_on(self, lane: cython.ulonglong, count: cython.ulonglong) -> cython.ulonglong:
        """When the request is due that is on this connection after ``count`` others."""
        return self.due_at(lane + count * self._lanes)

    @cython.ccall
    @cython.exceptval(-1)
    def deal(self) -> cython.ulonglong:
        """The connection that the next request is for; then the one after is next."""
        lane: cython.ulonglong = self.next % self._lanes
        self.next += 1
        return lane
