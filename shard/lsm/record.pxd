cimport cython


@cython.final
cdef class RecordBuilder:
    cdef readonly unsigned long long next_lsn
    cdef readonly Py_ssize_t op_count
    cdef readonly Py_ssize_t bytes_staged
    cdef bytearray _buffer
    cdef Py_ssize_t _start
    cdef Py_ssize_t _end
    cdef unsigned long long _record_first_lsn
    cdef bint _grouped

    cpdef object reset(self, unsigned long long next_lsn)
    cpdef object begin_group(self)
    cpdef object end_group(self)
    cpdef unsigned long long append_put(self, bytes key, bytes value, unsigned long long expiry_ms) except? 0
    cpdef unsigned long long append_delete(self, bytes key) except? 0
    cpdef unsigned long long append_import(
        self, bytes key, bytes value, unsigned long long expiry_ms, unsigned long long version
    ) except? 0
    cdef unsigned long long _append(
        self,
        unsigned int kind,
        bytes key,
        bytes value,
        unsigned long long expiry_ms,
        unsigned long long version,
    ) except? 0
    cdef object _make_room(self, Py_ssize_t payload)
    cdef object _close_record(self)
    cpdef bytes seal(
        self,
        unsigned long long term,
        unsigned long long synced,
        unsigned long long time_ms,
        unsigned long long salt,
    )
