cimport cython

from sherd.shard.lsm.cursor cimport Cursor


@cython.final
cdef class MergeCursor(Cursor):
    cdef list _all
    cdef list _order
    cdef bint _forward

    cdef bint _before(self, Cursor a, Cursor b)
    cdef _insert(self, Cursor cursor)
    cdef _rearrange(self)
    cdef _advance(self)
    cdef _settle(self)
    cdef _step(self)
