from sherd.shard.lsm.entry cimport Entry


cdef class Cursor:
    cdef readonly bint valid
    cdef readonly unsigned char kind
    cdef readonly bytes key
    cdef readonly unsigned long long lsn
    cdef readonly unsigned long long expiry_ms
    cdef readonly bytes value_source
    cdef readonly Py_ssize_t value_at
    cdef readonly Py_ssize_t value_len

    cpdef seek(self, bytes key)
    cpdef seek_first(self)
    cpdef seek_last(self)
    cpdef seek_before(self, bytes key)
    cpdef next(self)
    cpdef prev(self)
    cpdef bytes value(self)
    cpdef Entry entry(self)
    cdef copy_from(self, Cursor other)
    cdef invalidate(self)

cdef int compare_keys(bytes a, bytes b) noexcept
