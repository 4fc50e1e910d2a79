"""What one key holds at one log position: a value, or the fact that it was deleted.

An entry never changes; a newer write of its key makes a new one. The memtable is made of entries, so they carry
neither a dictionary nor a table of methods, and the garbage collector does not track them.
"""

import cython

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
else:
    from sherd.shard.lsm.format import KIND_DELETE


@cython.final
@cython.freelist(256)
@cython.cclass
class Entry:
    """``lsn`` is the version of the key, ``kind`` one of the ``KIND_`` numbers, ``expiry_ms`` the wall-clock time in
    milliseconds from which the entry counts as absent (0: never), ``value`` its encoded bytes (None in a tombstone).
    """

    def __init__(
        self, lsn: cython.ulonglong, kind: cython.uchar, expiry_ms: cython.ulonglong, value: bytes | None
    ) -> None:
        self.lsn = lsn
        self.kind = kind
        self.expiry_ms = expiry_ms
        self.value = value

    def is_live(self, now_ms: cython.ulonglong) -> bool:
        """Whether a reader at ``now_ms`` finds a value here: neither a tombstone nor expired."""
        return live_at(self, now_ms)

    def __repr__(self) -> str:
        return f"Entry(lsn={self.lsn}, kind={self.kind}, expiry_ms={self.expiry_ms}, value={self.value!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entry):
            return NotImplemented
        return (
            self.lsn == other.lsn
            and self.kind == other.kind
            and self.expiry_ms == other.expiry_ms
            and self.value == other.value
        )

    def __hash__(self) -> int:
        return hash((self.lsn, self.kind, self.expiry_ms, self.value))


@cython.cfunc
def live_at(entry: Entry, now_ms: cython.ulonglong) -> cython.bint:
    """``entry.is_live(now_ms)`` for compiled callers."""
    return entry.kind != KIND_DELETE and (entry.expiry_ms == 0 or entry.expiry_ms > now_ms)


if cython.compiled:

    @cython.cfunc
    def make_entry(
        lsn: cython.ulonglong, kind: cython.uchar, expiry_ms: cython.ulonglong, value: bytes | None
    ) -> Entry:
        """An entry, made without the cost of a Python call; for compiled callers."""
        entry: Entry = Entry.__new__(Entry)
        entry.lsn = lsn
        entry.kind = kind
        entry.expiry_ms = expiry_ms
        entry.value = value
        return entry

else:
    make_entry = Entry
