from sherd.common.topology.token_map cimport TokenMap
from sherd.shard.lsm.cursor cimport Cursor


cdef class Digest:
    cdef readonly Py_ssize_t examined
    cdef readonly bint done
    cdef Cursor _cursor
    cdef TokenMap _ranges
    cdef unsigned long long _time_ms
    cdef bint _begun
    cdef object _counts
    cdef object _sums

    cpdef step(self, Py_ssize_t entries_max, Py_ssize_t bytes_max)
    cdef _add(self, Cursor cursor)
