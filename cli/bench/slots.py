"""The requests in flight on one connection, in arrays: no object is made per request.

A slot is a number below the pipeline's depth: the msgid of its request, where a protocol has msgids. ``numbers`` has
``width`` keys for each slot. ``_order`` is a ring of the slots as they were sent, for protocols that answer in order.
"""

from array import array

import cython


@cython.final
@cython.cclass
class Slots:
    """Slots of one connection; the ``free`` ones are a stack."""

    def __init__(self, depth: int, width: int) -> None:
        self.depth = depth
        self.width = width
        self.kinds = bytearray(depth)
        self.numbers = array("Q", bytes(8 * depth * width))
        self.rows_left = array("i", bytes(4 * depth))
        self.sent_at = array("Q", bytes(8 * depth))
        self.cursors: dict[int, bytes] = {}
        self.free = depth
        self._free = array("i", range(depth - 1, -1, -1))
        self._order = array("i", bytes(4 * depth))
        self._first = self._waiting = 0

    @cython.cfunc
    @cython.exceptval(-1)
    def take(self) -> cython.int:
        """A free slot; there must be one."""
        self.free -= 1
        return self._free[self.free]

    @cython.cfunc
    def release(self, slot: cython.int) -> None:
        """The request in ``slot`` is done."""
        self._free[self.free] = slot
        self.free += 1

    @cython.cfunc
    def push_order(self, slot: cython.int) -> None:
        """The request in ``slot`` goes out after all that went before."""
        self._order[(self._first + self._waiting) % self.depth] = slot
        self._waiting += 1

    @cython.cfunc
    @cython.exceptval(-1)
    def pop_order(self) -> cython.int:
        """The slot that went out first of those not answered, or -1."""
        if self._waiting == 0:
            return -1
        slot: cython.int = self._order[self._first]
        self._first = (self._first + 1) % self.depth
        self._waiting -= 1
        return slot
