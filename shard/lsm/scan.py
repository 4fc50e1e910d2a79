"""Pages of a scan: live entries off a cursor, as the bytes that cross the wire or as columns for this process."""

from dataclasses import dataclass
from typing import NamedTuple

import cython

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.cursor import Cursor, compare_keys
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
    from cython.cimports.sherd.shard.lsm.page_writer import ColumnWriter, PageWriter, RowWriter
else:
    from sherd.shard.lsm.cursor import Cursor, compare_keys
    from sherd.shard.lsm.format import KIND_DELETE
    from sherd.shard.lsm.page_writer import ColumnWriter, PageWriter, RowWriter


class Page(NamedTuple):
    """``rows``: per row its length as u32 little-endian, then the row as MessagePack: ``[key, value]``, the key alone,
    or ``[key, [value, version, seconds left or nil]]``. ``count`` rows. ``resume``: where the next page begins (going
    forward: the start, inclusive; in reverse: the end, exclusive), None when the range is exhausted.
    """

    rows: bytes
    count: int  # type: ignore[assignment]
    resume: bytes | None


class ColumnPage(NamedTuple):
    """``keys`` of the rows, and ``values``: all of them as one MessagePack array, empty for keys alone. ``resume`` as
    in ``Page``.
    """

    keys: list[bytes]
    values: bytes
    resume: bytes | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page is to hold; bounds None are open. It ends at whichever limit is met first, but holds at least one row
    if there is one within ``examine_max`` entries looked at.
    """

    start: bytes | None
    end: bytes | None
    reverse: bool
    limit: int
    bytes_max: int
    keys_only: bool
    meta: bool
    examine_max: int


@cython.cfunc
def _place(cursor: Cursor, start: bytes | None, end: bytes | None, reverse: cython.bint) -> None:
    """Put the cursor at the first entry of the range in the direction of travel."""
    if reverse:
        if end is None:
            cursor.seek_last()
        else:
            cursor.seek_before(end)
    elif start is None:
        cursor.seek_first()
    else:
        cursor.seek(start)


@cython.cfunc
@cython.inline
def _within(cursor: Cursor, start: bytes | None, end: bytes | None, reverse: cython.bint) -> cython.bint:
    """Whether the cursor is at an entry of the range."""
    if not cursor.valid:
        return False
    if reverse:
        return start is None or compare_keys(cursor.key, start) >= 0
    return end is None or compare_keys(cursor.key, end) < 0


@cython.cfunc
@cython.inline
def _live(cursor: Cursor, now_ms: cython.ulonglong) -> cython.bint:
    return cursor.kind != KIND_DELETE and (cursor.expiry_ms == 0 or cursor.expiry_ms > now_ms)


def scan_page(cursor: Cursor, request: PageRequest, now_ms: cython.ulonglong) -> Page:
    """One page off ``cursor``, which shows every entry of the range."""
    writer = RowWriter(request.keys_only, request.meta, now_ms)
    resume = _fill(writer, cursor, request, now_ms)
    return Page(writer.take(), writer.count, resume)


def scan_columns(cursor: Cursor, request: PageRequest, now_ms: cython.ulonglong) -> ColumnPage:
    """The same page for this process; ``meta`` is not to be asked for."""
    writer = ColumnWriter(request.keys_only)
    resume = _fill(writer, cursor, request, now_ms)
    return ColumnPage(writer.keys, writer.take(), resume)


@cython.cfunc
def _fill(writer: PageWriter, cursor: Cursor, request: PageRequest, now_ms: cython.ulonglong) -> bytes | None:
    """Write the entries of a page; returns where the next page begins, None if the range is exhausted."""
    start: bytes | None = request.start
    end: bytes | None = request.end
    reverse: cython.bint = request.reverse
    limit: cython.Py_ssize_t = request.limit
    bytes_max: cython.Py_ssize_t = request.bytes_max
    left: cython.Py_ssize_t = request.examine_max
    last: bytes = b""
    _place(cursor, start, end, reverse)
    while _within(cursor, start, end, reverse):
        if writer.count >= limit or left <= 0 or (writer.count > 0 and writer.size >= bytes_max):
            return last if reverse else cursor.key
        if _live(cursor, now_ms):
            writer.add(cursor)
        left -= 1
        last = cursor.key
        if reverse:
            cursor.prev()
        else:
            cursor.next()
    return None


def count_page(
    cursor: Cursor, start: bytes | None, end: bytes | None, examine_max: cython.Py_ssize_t, now_ms: cython.ulonglong
) -> tuple[int, bytes | None]:
    """(live entries, the start to go on from or None) within the first ``examine_max`` entries of the range."""
    count: cython.Py_ssize_t = 0
    left: cython.Py_ssize_t = examine_max
    _place(cursor, start, end, False)
    while _within(cursor, start, end, False):
        if left <= 0:
            return count, cursor.key
        if _live(cursor, now_ms):
            count += 1
        left -= 1
        cursor.next()
    return count, None
