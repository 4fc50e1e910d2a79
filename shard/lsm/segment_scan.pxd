cimport cython


@cython.final
@cython.freelist(16)
cdef class RecordHeader:
    cdef readonly Py_ssize_t body_bytes
    cdef readonly unsigned int flags
    cdef readonly unsigned long long first_lsn
    cdef readonly unsigned long long last_lsn
    cdef readonly unsigned long long synced
    cdef readonly unsigned long long body_checksum
    cdef readonly Py_ssize_t record_bytes


@cython.final
cdef class RecordScanner:
    cdef readonly Py_ssize_t position
    cdef readonly Py_ssize_t offset
    cdef readonly Py_ssize_t needed
    cdef readonly unsigned long long next_lsn
    cdef readonly RecordHeader header
    cdef readonly bytes body
    cdef unsigned long long _salt
    cdef Py_ssize_t _file_bytes
    cdef bytes _data
    cdef Py_ssize_t _base

    cpdef object feed(self, bytes data)
    cpdef int next(self)
    cdef bint _in_order(self, RecordHeader header)
    cdef bint _agrees(self, RecordHeader header, Py_ssize_t pos)
