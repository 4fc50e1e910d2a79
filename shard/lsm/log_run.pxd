cimport cython

from sherd.shard.lsm.cursor cimport Cursor
from sherd.shard.lsm.pauses cimport Pauses
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
    cdef Pauses _pauses
    cdef list _bodies
    cdef Slot *_slots
    cdef Py_ssize_t _room
    cdef Py_ssize_t _count
    cdef Py_ssize_t _i

    cpdef unsigned long long add(self, bytes body)
    cdef int _append(self, OpReader ops)
    cdef int _sort(self) except -1
    cdef int _merge_stretches(self, Py_ssize_t width) except -1
    cdef int _merge_into(self, Slot *merged, Py_ssize_t width) except -1
    cdef _show(self)
