cdef class TokenMap:
    cdef readonly object layout
    cdef readonly bint hashed
    cdef unsigned long long[::1] _tokens
    cdef list _starts
    cdef Py_ssize_t _count
    cdef long[::1] _owners

    cpdef Py_ssize_t locate(self, bytes key) except? -1
    cpdef long owner(self, bytes key) except? -1
