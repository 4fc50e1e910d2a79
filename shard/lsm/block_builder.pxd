cimport cython


@cython.final
cdef class BlockBuilder:
    cdef readonly Py_ssize_t count
    cdef bytearray _entries
    cdef bytearray _offsets
    cdef Py_ssize_t _used

    cpdef Py_ssize_t size_bytes(self)
    cpdef add(self, bytes key, unsigned long long lsn, unsigned int kind, unsigned long long expiry_ms, bytes value)
    cdef int add_slice(
        self,
        bytes key,
        unsigned long long lsn,
        unsigned int kind,
        unsigned long long expiry_ms,
        bytes source,
        Py_ssize_t start,
        Py_ssize_t size,
    )
    cdef int _make_room(self, Py_ssize_t entry_bytes)
    cpdef bytes finish(self)

cdef Py_ssize_t store(unsigned char *raw, Py_ssize_t at, unsigned long long value, Py_ssize_t width) noexcept
