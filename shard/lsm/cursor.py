"""The one way to walk sorted entries, whatever holds them: a table, a level, a memtable, or a merge of them all.

Invariants: keys come in byte order, each key at most once; while ``valid`` is true the fields describe the entry at
the cursor, and they hold still until the cursor is moved; a move past either end makes the cursor invalid, and moving
an invalid cursor by ``next`` or ``prev`` leaves it so; a new cursor is invalid until it is first placed. Tombstones
and expired entries are shown like all others.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
    from cython.cimports.libc.string import memcmp
    from cython.cimports.sherd.shard.lsm.entry import Entry, make_entry
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
else:
    from sherd.shard.lsm.entry import Entry, make_entry
    from sherd.shard.lsm.format import KIND_DELETE


@cython.cfunc
@cython.exceptval(check=False)
def compare_keys(a: bytes, b: bytes) -> cython.int:
    """Below, at or above zero as ``a`` sorts before, with or after ``b``."""
    if cython.compiled:
        a_size: cython.Py_ssize_t = PyBytes_GET_SIZE(a)
        b_size: cython.Py_ssize_t = PyBytes_GET_SIZE(b)
        order: cython.int = memcmp(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), a_size if a_size < b_size else b_size)
        if order != 0:
            return 1 if order > 0 else -1
        return (a_size > b_size) - (a_size < b_size)
    else:
        return (a > b) - (a < b)


@cython.cclass
class Cursor:
    """Base of all cursors.

    ``key``, ``lsn``, ``kind`` and ``expiry_ms`` are the entry's; its value is
    ``value_source[value_at : value_at + value_len]``, so that a value can be copied from where it lies without making
    an object of it. Moves may read files: they raise Corruption for what is damaged or cannot be read, after which the
    cursor is invalid or must be placed anew.
    """

    def __init__(self) -> None:
        self.valid = False
        self.kind = 0
        self.key = b""
        self.lsn = 0
        self.expiry_ms = 0
        self.value_source = b""
        self.value_at = 0
        self.value_len = 0

    @cython.ccall
    def seek(self, key: bytes) -> None:
        """Go to the first entry at or after ``key``."""
        raise NotImplementedError

    @cython.ccall
    def seek_first(self) -> None:
        """Go to the first entry."""
        raise NotImplementedError

    @cython.ccall
    def seek_last(self) -> None:
        """Go to the last entry."""
        raise NotImplementedError

    @cython.ccall
    def seek_before(self, key: bytes) -> None:
        """Go to the last entry before ``key``."""
        raise NotImplementedError

    @cython.ccall
    def next(self) -> None:
        """Go to the following entry."""
        raise NotImplementedError

    @cython.ccall
    def prev(self) -> None:
        """Go to the preceding entry."""
        raise NotImplementedError

    @cython.ccall
    def value(self) -> bytes:
        """The entry's value as an object of its own; empty for a tombstone."""
        if self.value_at == 0 and self.value_len == len(self.value_source):
            return self.value_source
        return self.value_source[self.value_at : self.value_at + self.value_len]

    @cython.ccall
    def entry(self) -> Entry:
        """The entry as an object of its own."""
        return make_entry(self.lsn, self.kind, self.expiry_ms, None if self.kind == KIND_DELETE else self.value())

    @cython.cfunc
    def copy_from(self, other: Cursor) -> None:
        """Show the entry that ``other`` is at."""
        self.valid = other.valid
        self.kind = other.kind
        self.key = other.key
        self.lsn = other.lsn
        self.expiry_ms = other.expiry_ms
        self.value_source = other.value_source
        self.value_at = other.value_at
        self.value_len = other.value_len

    @cython.cfunc
    def invalidate(self) -> None:
        """Stand at no entry, and keep nothing alive."""
        self.valid = False
        self.key = b""
        self.value_source = b""
        self.value_at = 0
        self.value_len = 0
