"""Walks tables whose key ranges do not overlap as if they were one.

Invariants: the ranges ascend; only the table that the cursor is in is open to it, and a table is asked for when the
cursor first enters it.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

import cython

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.cursor import Cursor
else:
    from sherd.shard.lsm.cursor import Cursor


@cython.final
@cython.cclass
class LevelCursor(Cursor):
    """``ranges`` are (smallest key, largest key) of each table, in order; ``open_cursor(i)`` gives a cursor over the
    ``i``-th, and may raise what opening a table raises.
    """

    def __init__(self, ranges: Sequence[tuple[bytes, bytes]], open_cursor: Callable[[int], Cursor]) -> None:
        Cursor.__init__(self)
        self._smallest = [smallest for smallest, _ in ranges]
        self._largest = [largest for _, largest in ranges]
        for i in range(len(ranges)):
            if self._smallest[i] > self._largest[i] or (i > 0 and self._largest[i - 1] >= self._smallest[i]):
                raise ValueError(f"the range of table {i} of the level overlaps the one before it")
        self._open = open_cursor
        self._inner = Cursor()
        self._at = -1

    @cython.cfunc
    def _enter(self, at: cython.Py_ssize_t) -> cython.bint:
        """Have ``_inner`` be the cursor of table ``at``; False, and invalid, if there is no such table."""
        self.invalidate()
        if at < 0 or at >= len(self._largest):
            return False
        if at != self._at:
            self._at = -1
            self._inner = self._open(at)
            self._at = at
        return True

    @cython.cfunc
    def _settle_forward(self) -> None:
        """Show the inner cursor's entry, or the first of the tables that follow."""
        while not self._inner.valid:
            if not self._enter(self._at + 1):
                return
            self._inner.seek_first()
        self.copy_from(self._inner)

    @cython.cfunc
    def _settle_backward(self) -> None:
        """Show the inner cursor's entry, or the last of the tables before."""
        while not self._inner.valid:
            if not self._enter(self._at - 1):
                return
            self._inner.seek_last()
        self.copy_from(self._inner)

    @cython.ccall
    def seek_first(self) -> None:
        if self._enter(0):
            self._inner.seek_first()
            self._settle_forward()

    @cython.ccall
    def seek_last(self) -> None:
        if self._enter(len(self._largest) - 1):
            self._inner.seek_last()
            self._settle_backward()

    @cython.ccall
    def seek(self, key: bytes) -> None:
        if self._enter(bisect_left(self._largest, key)):
            self._inner.seek(key)
            self._settle_forward()

    @cython.ccall
    def seek_before(self, key: bytes) -> None:
        if self._enter(bisect_left(self._smallest, key) - 1):
            self._inner.seek_before(key)
            self._settle_backward()

    @cython.ccall
    def next(self) -> None:
        if self.valid:
            self.valid = False  # and so it stays if the move raises
            self._inner.next()
            self._settle_forward()

    @cython.ccall
    def prev(self) -> None:
        if self.valid:
            self.valid = False  # and so it stays if the move raises
            self._inner.prev()
            self._settle_backward()
