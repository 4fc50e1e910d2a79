"""What a compaction keeps: of the newest entries of a merge, those that still matter.

A tombstone matters while an older version of its key may stand somewhere outside the merge. So does an expired entry:
there it becomes a tombstone, for without it the older version would show again. Expiry is judged by the time in the
log, which every replica shares, never by this machine's clock.
"""

from bisect import bisect_left
from collections.abc import Iterable

import cython

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.cursor import Cursor, compare_keys
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
    from cython.cimports.sherd.shard.lsm.pauses import Pauses
    from cython.cimports.sherd.shard.lsm.table_writer import TableWriter
else:
    from sherd.shard.lsm.cursor import Cursor, compare_keys
    from sherd.shard.lsm.format import KIND_DELETE
    from sherd.shard.lsm.pauses import Pauses
    from sherd.shard.lsm.table_writer import TableWriter

_ENTRY_BYTES = cython.declare(cython.Py_ssize_t, 32)  # what an entry counts beside its key and value


def join_ranges(ranges: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same keys as ascending ranges that do not overlap; bounds are inclusive."""
    joined: list[tuple[bytes, bytes]] = []
    for smallest, largest in sorted(ranges):
        if joined and smallest <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], largest))
        else:
            joined.append((smallest, largest))
    return joined


@cython.final
@cython.cclass
class Survivors(Cursor):
    """What is left of ``source``, from its first entry to its last; moves only by ``seek_first`` and ``next``.

    ``older`` are the key ranges (inclusive) in which older versions may stand outside the source; ``judged_ms`` is
    the time by which entries are expired. All input is spent on ``pauses``. ``dropped`` counts entries
    left out, ``buried`` the expired ones that became tombstones.
    """

    def __init__(self, source: Cursor, older: Iterable[tuple[bytes, bytes]], judged_ms: int, pauses: Pauses) -> None:
        Cursor.__init__(self)
        self._source = source
        self._older = join_ranges(older)
        self._older_at = 0
        self._judged_ms = judged_ms
        self._pauses = pauses
        self.dropped = 0
        self.buried = 0

    @cython.ccall
    def seek_first(self) -> None:
        self._older_at = 0
        self._source.seek_first()
        self._settle()

    @cython.ccall
    def next(self) -> None:
        if self.valid:
            self.valid = False  # and so it stays if the move raises
            self._source.next()
            self._settle()

    @cython.cfunc
    def _may_be_older(self, key: bytes) -> cython.bint:
        """Whether an older version of ``key``, which is not before any key asked about so far, may exist."""
        smallest: bytes
        largest: bytes
        while self._older_at < len(self._older):
            smallest, largest = self._older[self._older_at]
            if compare_keys(key, largest) <= 0:
                return compare_keys(smallest, key) <= 0
            self._older_at += 1
        return False

    @cython.cfunc
    def _settle(self) -> None:
        """Go on to the first entry that matters, from where the source is."""
        source: Cursor = self._source
        dead: cython.bint
        while source.valid:
            self._pauses.spend(len(source.key) + source.value_len + _ENTRY_BYTES)
            dead = source.kind == KIND_DELETE or 0 < source.expiry_ms <= self._judged_ms
            if not dead:
                self.copy_from(source)
                return
            if self._may_be_older(source.key):
                self.copy_from(source)
                self._bury()
                return
            self.dropped += 1
            source.next()
        self.invalidate()

    def _bury(self) -> None:
        """Show the entry, which is dead, as a tombstone."""
        if self.kind != KIND_DELETE:
            self.buried += 1
        self.kind = KIND_DELETE
        self.expiry_ms = 0
        self.value_source = b""
        self.value_at = 0
        self.value_len = 0


def copy_entries(cursor: Cursor, writer: TableWriter, raw_bytes_max: cython.longlong, cuts: tuple[bytes, ...]) -> None:
    """Move entries from ``cursor`` into ``writer`` until that holds ``raw_bytes_max`` bytes of keys and values, or half
    of that and the next entry is at or after a key of ``cuts``, which ascend.
    """
    half: cython.longlong = raw_bytes_max // 2 if cuts else raw_bytes_max
    while cursor.valid and writer.raw_bytes < half:
        writer.add_cursor(cursor)
        cursor.next()
    if not cursor.valid:
        return
    at: cython.Py_ssize_t = bisect_left(cuts, cursor.key)
    cut: bytes | None = cuts[at] if at < len(cuts) else None
    while cursor.valid and writer.raw_bytes < raw_bytes_max and (cut is None or compare_keys(cursor.key, cut) < 0):
        writer.add_cursor(cursor)
        cursor.next()
