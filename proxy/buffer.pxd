cdef class Buffer:
    cdef Py_ssize_t _used
    cdef bytearray _buffer

    cdef append(self, bytes data, Py_ssize_t start, Py_ssize_t end)
    cdef append_request_head(self, unsigned int number)
    cpdef bytes take(self)
