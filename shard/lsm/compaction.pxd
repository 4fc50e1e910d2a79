cimport cython

from sherd.shard.lsm.cursor cimport Cursor
from sherd.shard.lsm.pauses cimport Pauses


@cython.final
cdef class Survivors(Cursor):
    cdef Cursor _source
    cdef list _older
    cdef Py_ssize_t _older_at
    cdef unsigned long long _judged_ms
    cdef Pauses _pauses
    cdef readonly long long dropped
    cdef readonly long long buried

    cdef bint _may_be_older(self, bytes key)
    cdef _settle(self)
