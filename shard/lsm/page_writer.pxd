cimport cython

from sherd.shard.lsm.cursor cimport Cursor


cdef class PageWriter:
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t size
    cdef bytearray _buffer
    cdef Py_ssize_t _end

    cdef object add(self, Cursor cursor)
    cdef object _reserve(self, Py_ssize_t needed)
    cdef object _put_byte(self, unsigned char value)
    cdef object _put(self, bytes data, Py_ssize_t at, Py_ssize_t size)
    cpdef bytes take(self)


@cython.final
cdef class RowWriter(PageWriter):
    cdef bint _keys_only
    cdef bint _meta
    cdef unsigned long long _now_ms

    cdef object _put_key(self, bytes key)


@cython.final
cdef class ColumnWriter(PageWriter):
    cdef readonly list keys
    cdef bint _keys_only
