"""Bytes on their way out: collected while a loop turn lasts, written once at its end.

Every connection, to a client or to a shard, is an ``Outlet``; a process has one ``Turn``, which knows the outlets that
have something to write. So the system calls per request fall as the load rises.

Invariants: an outlet with waiting bytes is in the turn's list, once; the turn's list is empty or a flush is scheduled.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import cython

if cython.compiled:
    from cython.cimports.sherd.proxy.buffer import Buffer
else:
    from sherd.proxy.buffer import Buffer

logger = logging.getLogger("proxy.outlet")


class Sink(Protocol):
    """What an outlet needs of a transport."""

    def write(self, data: bytes, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


@cython.cclass
class Outlet(Buffer):
    """The outgoing side of one connection. ``sink`` is None before it opens and after it broke."""

    def __init__(self, turn: "Turn") -> None:
        Buffer.__init__(self)
        self.turn = turn
        self.sink: Sink | None = None
        self._dirty = False

    @cython.ccall
    def add(self, data: bytes) -> None:
        """Append ``data``, to be written at the end of this turn."""
        self.add_range(data, 0, len(data))

    @cython.cfunc
    def add_range(self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        """Append ``data[start:end]``, to be written at the end of this turn."""
        if not self._dirty:
            self.turn.touch(self)
        self.append(data, start, end)

    @cython.ccall
    def flush(self) -> None:
        """Hand the waiting bytes to the sink. Called by the turn."""
        data: bytes = self.take()
        if data and self.sink is not None:
            self.sink.write(data)


@cython.cclass
class Turn:
    """The outlets to flush at the end of this turn of the event loop, which ``call_soon`` runs a callable at."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._dirty: list[Outlet] = []

    @cython.cfunc
    def touch(self, outlet: Outlet) -> None:
        """Have ``outlet`` flushed at the end of the turn, whether or not it has something to write."""
        if outlet._dirty:
            return
        if not self._dirty:
            self._call_soon(self.flush)
        outlet._dirty = True
        self._dirty.append(outlet)

    def flush(self) -> None:
        """Flush every touched outlet. One whose sink fails is aborted and does not hinder the others."""
        dirty: list[Outlet] = self._dirty
        self._dirty = []
        outlet: Outlet
        for outlet in dirty:
            outlet._dirty = False
            try:
                outlet.flush()
            except Exception:
                logger.exception("a connection failed while it was written to")
                if outlet.sink is not None:
                    outlet.sink.abort()
