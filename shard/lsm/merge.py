"""Merges cursors that may share keys into one in which each key stands once, with its newest entry.

``_order`` holds the inner cursors that are valid, sorted by key (ascending when going forward, descending when going
back) and, among equal keys, newest first; so its head is what the merge shows. A step moves the head and puts it back
in its place: with few cursors, or runs of keys from one of them, that is a comparison or two.

Invariants while valid: every inner cursor is at its first entry at or after the key shown (going forward), or at its
last at or before it (going back). To turn round, all are placed anew at that key.
"""

from collections.abc import Iterable

import cython

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.cursor import Cursor, compare_keys
else:
    from sherd.shard.lsm.cursor import Cursor, compare_keys


@cython.final
@cython.cclass
class MergeCursor(Cursor):
    """A merge of any number of cursors, which it then moves alone. Tombstones are shown, not applied."""

    def __init__(self, cursors: Iterable[Cursor]) -> None:
        Cursor.__init__(self)
        self._all = list(cursors)
        self._order: list[Cursor] = []
        self._forward = True

    @cython.cfunc
    def _before(self, a: Cursor, b: Cursor) -> cython.bint:
        """Whether ``a`` comes before ``b`` in the direction of travel."""
        order: cython.int = compare_keys(a.key, b.key)
        if order == 0:
            return a.lsn > b.lsn
        return order < 0 if self._forward else order > 0

    @cython.cfunc
    def _insert(self, cursor: Cursor) -> None:
        """Put a valid cursor where it belongs, searching from the head."""
        at: cython.Py_ssize_t = 0
        count: cython.Py_ssize_t = len(self._order)
        while at < count and not self._before(cursor, self._order[at]):
            at += 1
        self._order.insert(at, cursor)

    @cython.cfunc
    def _rearrange(self) -> None:
        """Sort all cursors anew after they were placed one by one, and show the head."""
        self._order = []
        cursor: Cursor
        for cursor in self._all:
            if cursor.valid:
                self._insert(cursor)
        self._settle()

    @cython.cfunc
    def _settle(self) -> None:
        """Show the head of the order."""
        if self._order:
            self.copy_from(self._order[0])
        else:
            self.invalidate()

    @cython.cfunc
    def _advance(self) -> None:
        """Move the head one entry on, and keep the order."""
        head: Cursor = self._order[0]
        if self._forward:
            head.next()
        else:
            head.prev()
        if not head.valid:
            del self._order[0]
            return
        at: cython.Py_ssize_t = 0
        last: cython.Py_ssize_t = len(self._order) - 1
        while at < last and not self._before(head, self._order[at + 1]):
            self._order[at] = self._order[at + 1]
            at += 1
        if at > 0:
            self._order[at] = head

    @cython.cfunc
    def _step(self) -> None:
        """Leave the key shown: move every cursor that is at it, then show the head."""
        shown: bytes = self.key
        head: Cursor
        self.valid = False  # and so it stays if a move raises
        self._advance()
        while self._order:
            head = self._order[0]
            if compare_keys(head.key, shown) != 0:
                break
            self._advance()
        self._settle()

    @cython.ccall
    def seek_first(self) -> None:
        self._forward = True
        self.valid = False
        cursor: Cursor
        for cursor in self._all:
            cursor.seek_first()
        self._rearrange()

    @cython.ccall
    def seek_last(self) -> None:
        self._forward = False
        self.valid = False
        cursor: Cursor
        for cursor in self._all:
            cursor.seek_last()
        self._rearrange()

    @cython.ccall
    def seek(self, key: bytes) -> None:
        self._forward = True
        self.valid = False
        cursor: Cursor
        for cursor in self._all:
            cursor.seek(key)
        self._rearrange()

    @cython.ccall
    def seek_before(self, key: bytes) -> None:
        self._forward = False
        self.valid = False
        cursor: Cursor
        for cursor in self._all:
            cursor.seek_before(key)
        self._rearrange()

    @cython.ccall
    def next(self) -> None:
        if not self.valid:
            return
        if not self._forward:
            self.seek(self.key)
        self._step()

    @cython.ccall
    def prev(self) -> None:
        if not self.valid:
            return
        if self._forward:
            self._turn_back()
        self._step()

    def _turn_back(self) -> None:
        """Go on backward from the key shown: every cursor to its last entry at or before it."""
        key: bytes = self.key
        self.valid = False
        cursor: Cursor
        for cursor in self._all:
            cursor.seek(key)
            if not cursor.valid or compare_keys(cursor.key, key) != 0:
                cursor.seek_before(key)
        self._forward = False
        self._rearrange()
