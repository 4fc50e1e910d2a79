cdef class IprotoReplies:
    cdef readonly bytes data
    cdef readonly Py_ssize_t body, end
    cdef readonly long long code, sync
    cdef bytearray _held
    cdef Py_ssize_t _needed, _next
    cdef bint _is_greeted

    cpdef feed(self, bytes data)
    cpdef int next(self) except? -1
    cdef int _greet(self) except? -1
    cdef int _hold(self, Py_ssize_t needed) except? -1
    cdef _read_header(self, Py_ssize_t pos, Py_ssize_t stop)
    cdef Py_ssize_t find(self, unsigned int key) except? -1


cdef long long unsigned_at(bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
