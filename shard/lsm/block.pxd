cimport cython

from sherd.shard.lsm.cursor cimport Cursor
from sherd.shard.lsm.entry cimport Entry


@cython.final
cdef class Block:
    cdef readonly bytes data
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t _offsets_at
    cdef bytes _heads
    cdef Py_ssize_t _shared
    cdef bint _searched
    # Kept by BlockCache.
    cdef list shelf
    cdef Py_ssize_t shelf_at
    cdef Py_ssize_t ring_at
    cdef Py_ssize_t cost_bytes
    cdef bint touched

    cpdef Py_ssize_t search(self, bytes key)
    cdef _note_heads(self)
    cdef unsigned long long _head(self, Py_ssize_t i) noexcept
    cdef Py_ssize_t _first_head(self, unsigned char *key, Py_ssize_t key_len) noexcept
    cpdef Entry find(self, bytes key)
    cpdef show(self, Py_ssize_t i, Cursor cursor)
    cdef Py_ssize_t value_start(self, Py_ssize_t i)

cdef unsigned int load_u32(unsigned char *raw, Py_ssize_t at) noexcept
cdef unsigned long long load_u64(unsigned char *raw, Py_ssize_t at) noexcept
