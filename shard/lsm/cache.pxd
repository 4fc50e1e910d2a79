cimport cython

from sherd.shard.lsm.block cimport Block


@cython.final
cdef class BlockCache:
    cdef readonly Py_ssize_t bytes_max
    cdef readonly Py_ssize_t bytes_held
    cdef readonly Py_ssize_t blocks
    cdef readonly object decoder
    cdef dict _shelves
    cdef list _ring
    cdef list _holes
    cdef Py_ssize_t _hand

    cpdef list shelf(self, unsigned long long table, Py_ssize_t block_count)
    cpdef bint put(self, list shelf, Py_ssize_t place, Block block)
    cpdef drop(self, unsigned long long table)
    cdef _take_off(self, Block block)
    cdef _evict_one(self)
