cdef Py_ssize_t line_end(bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
cdef long long line_number(bytes data, Py_ssize_t pos, Py_ssize_t stop) except? -1
cdef Py_ssize_t reply_end(bytes data, Py_ssize_t pos, Py_ssize_t end, int depth) except? -1

cdef class RespReplies:
    cdef readonly bytes data
    cdef readonly Py_ssize_t start, end
    cdef bytearray _held
    cdef Py_ssize_t _needed

    cpdef feed(self, bytes data)
    cpdef int next(self) except? -1
