"""When long work lets something else happen: a function that is called again and again, counted by bytes of input.

Bytes and not a clock, so that the loops of the work pay an addition for it. Whoever is called may look at a clock.
"""

from collections.abc import Callable

import cython

PAUSE_BYTES: int = 16 << 10
"""Input between two calls, about: well under a millisecond's work."""
_PAUSE_BYTES = cython.declare(cython.Py_ssize_t, PAUSE_BYTES)


@cython.final
@cython.cclass
class Pauses:
    """Calls ``pause`` about once every ``PAUSE_BYTES`` of what is spent. What ``pause`` raises, ``spend`` raises."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause
        self._left = _PAUSE_BYTES

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def spend(self, nbytes: cython.Py_ssize_t) -> cython.int:
        """Count ``nbytes`` of input that have been worked on."""
        self._left -= nbytes
        if self._left < 0:
            self._left = _PAUSE_BYTES
            self._pause()
        return 0
