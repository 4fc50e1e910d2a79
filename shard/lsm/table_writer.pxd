cimport cython

from sherd.shard.lsm.block_builder cimport BlockBuilder
from sherd.shard.lsm.cursor cimport Cursor


@cython.final
cdef class TableWriter:
    cdef object _file
    cdef object _encoder
    cdef Py_ssize_t _block_bytes
    cdef int _bits_per_key
    cdef BlockBuilder _block
    cdef BlockBuilder _index
    cdef bytearray _key_hashes
    cdef bytearray _unwritten
    cdef Py_ssize_t _offset
    cdef bint _done
    cdef object _salt
    cdef bytes _smallest
    cdef bytes _largest
    cdef readonly long long entries
    cdef long long _tombstones
    cdef long long _imports
    cdef long long _expiring
    cdef long long _blocks
    cdef unsigned long long _min_lsn
    cdef unsigned long long _max_lsn
    cdef readonly long long raw_bytes
    cdef long long _raw_block_bytes

    cpdef add(self, bytes key, unsigned long long lsn, unsigned int kind, unsigned long long expiry_ms, bytes value)
    cpdef add_cursor(self, Cursor cursor)
    cdef _add(
        self,
        bytes key,
        unsigned long long lsn,
        unsigned int kind,
        unsigned long long expiry_ms,
        bytes source,
        Py_ssize_t start,
        Py_ssize_t size,
    )
    cdef _note_hash(self, unsigned long long key_hash)
    cdef _end_block(self)
    cdef _write(self, bytes data)
