cimport cython

from sherd.shard.lsm.block cimport Block
from sherd.shard.lsm.cache cimport BlockCache
from sherd.shard.lsm.cursor cimport Cursor
from sherd.shard.lsm.entry cimport Entry


@cython.final
cdef class Table:
    cdef readonly str path
    cdef readonly unsigned long long number
    cdef readonly object properties
    cdef object _disk
    cdef bint _closed
    cdef object _file
    cdef object _salt
    cdef BlockCache _cache
    cdef Block _index
    cdef bytes _filter
    cdef list _shelf

    cpdef Entry get(self, bytes key, unsigned long long key_hash)
    cdef Block block(self, Py_ssize_t i, bint fill_cache)
    cdef Block _read_block(self, Py_ssize_t i)
    cdef bytes _read_at(self, unsigned long long offset, unsigned long long stored_bytes, unsigned long long raw_bytes)


@cython.final
cdef class TableCursor(Cursor):
    cdef Table _table
    cdef bint _fill_cache
    cdef Block _block
    cdef Py_ssize_t _block_at
    cdef Py_ssize_t _i

    cdef _enter(self, Py_ssize_t block_at, bint at_end)
