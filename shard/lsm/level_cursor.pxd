cimport cython

from sherd.shard.lsm.cursor cimport Cursor


@cython.final
cdef class LevelCursor(Cursor):
    cdef list _smallest
    cdef list _largest
    cdef object _open
    cdef Cursor _inner
    cdef Py_ssize_t _at

    cdef bint _enter(self, Py_ssize_t at)
    cdef _settle_forward(self)
    cdef _settle_backward(self)
