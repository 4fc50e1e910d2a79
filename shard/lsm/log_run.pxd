cimport cython

from sherd.shard.lsm.cursor cimport Cursor
from sherd.shard.lsm.record_body cimport OpReader


cdef struct Slot:
    unsigned long long prefix
    unsigned char *key
    Py_ssize_t key_len
    unsigned long long lsn
    unsigned long long expiry_ms
    Py_ssize_t value_at
    Py_ssize_t value_len
    unsigned int body
    unsigned char kind


cdef int compare_slots(const void *a, const void *b) noexcept nogil


@cython.final
cdef class LogRun(Cursor):
    cdef list _bodies
    cdef Slot *_slots
    cdef Py_ssize_t _room
    cdef Py_ssize_t _count
    cdef Py_ssize_t _i

    cpdef unsigned long long add(self, bytes body)
    cdef int _append(self, OpReader ops)
    cdef int _sort(self)
    cdef _show(self)
