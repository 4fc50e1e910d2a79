"""Merges the rows of several shards into one page, in key order, forward or backward.

A shard's rows come as one blob: for each row its length as u32 little-endian and the row as MessagePack, ``[key,
value]`` or, with ``keys_only``, the key; a key is a bin. Rows are compared by their keys and copied as they are.

Invariants: ``_heap`` holds the runs that stand at a row, ordered as a binary heap by that row's key; no two runs hold
the same key, for a key has one owner.
"""

import cython

from sherd.common.errors import Internal

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp
    from cython.cimports.sherd.common.wire.primitives import payload_start, skip
    from cython.cimports.sherd.proxy.buffer import Buffer
else:
    from sherd.common.wire.primitives import payload_start, skip
    from sherd.proxy.buffer import Buffer

ROW_HEAD_BYTES = 4
_KEYED_ROW = cython.declare(cython.uint, 0x92)


@cython.final
@cython.cclass
class Run:
    """The rows of one shard, or of one stretch of it. ``resume_start`` and ``resume_end`` bound what follows them."""

    def __init__(self, shard: int, start: bytes | None, end: bytes | None) -> None:
        self.shard = shard
        self.resume_start = start
        self.resume_end = end
        self.exhausted = False
        self.asked = False
        self._rows = b""
        self._next = self._row = self._row_end = self._key = self._key_end = 0

    @property
    def dry(self) -> bool:
        """Whether it stands at no row, and the shard may have more."""
        return self._row_end == 0 and not self.exhausted

    @property
    def has_row(self) -> bool:
        """Whether it stands at a row."""
        return self._row_end > 0

    def load(self, rows: bytes) -> None:
        """Take the next rows; it must be dry. Internal if they are malformed."""
        self._rows = rows
        self._next = 0
        self.advance()

    @cython.cfunc
    def advance(self) -> cython.bint:
        """Go to the next row. False if there is none at hand."""
        rows: bytes = self._rows
        size: cython.Py_ssize_t = len(rows)
        if self._next >= size:
            self._rows = b""
            self._next = self._row_end = 0
            return False
        if size - self._next < ROW_HEAD_BYTES:
            raise Internal("a shard's rows are cut off")
        length: cython.Py_ssize_t = (
            rows[self._next]
            | cython.cast(cython.Py_ssize_t, rows[self._next + 1]) << 8
            | cython.cast(cython.Py_ssize_t, rows[self._next + 2]) << 16
            | cython.cast(cython.Py_ssize_t, rows[self._next + 3]) << 24
        )
        self._row = self._next + ROW_HEAD_BYTES
        if length < 1 or length > size - self._row:
            raise Internal("a shard's rows are cut off")
        self._next = self._row_end = self._row + length
        key: cython.Py_ssize_t = self._row
        if rows[key] == _KEYED_ROW:
            key += 1
        self._key = payload_start(rows, key, self._row_end)
        self._key_end = skip(rows, key, self._row_end, 0)
        if self._key < 0 or self._key_end < self._key:
            raise Internal("a shard's row has no key")
        return True


@cython.cfunc
@cython.inline
def _before(left: Run, right: Run) -> cython.bint:
    """Whether the key that ``left`` stands at is below that of ``right``. Positions were checked by ``advance``."""
    if cython.compiled:
        left_size: cython.Py_ssize_t = left._key_end - left._key
        right_size: cython.Py_ssize_t = right._key_end - right._key
        order: cython.int = memcmp(
            PyBytes_AS_STRING(left._rows) + left._key,
            PyBytes_AS_STRING(right._rows) + right._key,
            left_size if left_size < right_size else right_size,
        )
        return order < 0 or (order == 0 and left_size < right_size)
    else:
        return left._rows[left._key : left._key_end] < right._rows[right._key : right._key_end]


@cython.final
@cython.cclass
class Merge:
    """One page in the making: at most ``limit`` rows and ``bytes_max`` bytes of rows, but one row if there is one."""

    def __init__(self, reverse: bool, limit: int, bytes_max: int) -> None:
        self.reverse = reverse
        self.count = 0
        self.full = False
        self._limit = limit
        self._bytes_max = bytes_max
        self._rows = Buffer()
        self._heap: list[Run] = []
        self._key_at = self._key_size = 0

    @property
    def rows_left(self) -> int:
        """Rows there is still room for."""
        return self._limit - self.count

    @property
    def bytes_left(self) -> int:
        """Bytes there is still room for; at least 1 as long as the page is empty."""
        return max(self._bytes_max - len(self._rows), 0)

    @property
    def last_key(self) -> bytes:
        """The key of the last row of the page so far; empty if there is none."""
        return self._rows.cut(self._key_at, self._key_at + self._key_size)

    def add(self, run: Run) -> None:
        """Let ``run`` take part; it must stand at a row and not take part yet."""
        self._heap.append(run)
        self._sift_up(len(self._heap) - 1)

    def drop_runs(self) -> None:
        """Let no run take part any more; the page stays."""
        self._heap = []

    def take(self) -> bytes:
        """The rows of the page, one behind the other; afterwards it has none, and no ``last_key``."""
        self._key_at = self._key_size = 0
        return self._rows.take()

    def fill(self) -> Run | None:
        """Move rows to the page until it is ``full``, or no run takes part, or one stands at no row any more.

        Returns that one, or None. It no longer takes part; ``add`` it when it has more rows.
        """
        run: Run
        size: cython.Py_ssize_t
        while self._heap:
            run = self._heap[0]
            size = run._row_end - run._row
            if self.count >= self._limit or (self.count > 0 and size > self._bytes_max - self._rows._used):
                self.full = True
                return None
            self._key_at = self._rows._used + run._key - run._row
            self._key_size = run._key_end - run._key
            self._rows.append(run._rows, run._row, run._row_end)
            self.count += 1
            if not run.advance():
                self._remove_first()
                return run
            self._sift_down()
        return None

    @cython.cfunc
    def _remove_first(self) -> None:
        last = self._heap.pop()
        if self._heap:
            self._heap[0] = last
            self._sift_down()

    @cython.cfunc
    def _sift_up(self, position: cython.Py_ssize_t) -> None:
        heap: list = self._heap  # type: ignore[type-arg]
        parent: cython.Py_ssize_t
        while position > 0:
            parent = (position - 1) >> 1
            if not self._precedes(heap[position], heap[parent]):
                return
            heap[position], heap[parent] = heap[parent], heap[position]
            position = parent

    @cython.cfunc
    def _sift_down(self) -> None:
        heap: list = self._heap  # type: ignore[type-arg]
        size: cython.Py_ssize_t = len(heap)
        position: cython.Py_ssize_t = 0
        child: cython.Py_ssize_t = 1
        while child < size:
            if child + 1 < size and self._precedes(heap[child + 1], heap[child]):
                child += 1
            if not self._precedes(heap[child], heap[position]):
                return
            heap[position], heap[child] = heap[child], heap[position]
            position = child
            child = 2 * position + 1

    @cython.cfunc
    @cython.inline
    def _precedes(self, left: Run, right: Run) -> cython.bint:
        return _before(right, left) if self.reverse else _before(left, right)
