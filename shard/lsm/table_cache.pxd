from sherd.shard.lsm.table cimport Table


cdef class TableHandle:
    cdef readonly object meta
    cdef readonly bytes smallest
    cdef readonly bytes largest
    cdef readonly Py_ssize_t pins
    cdef Table _table
    cdef bint _held
    cdef bint _used
    cdef TableCache _cache

    cpdef Table table(self)


cdef class TableCache:
    cdef object _disk
    cdef str _directory
    cdef object _blocks
    cdef Py_ssize_t _files_max
    cdef object _ring

    cdef hold(self, TableHandle handle)
