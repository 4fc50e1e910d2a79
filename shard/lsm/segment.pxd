cdef class SegmentWriter:
    cdef readonly str path
    cdef readonly unsigned long long number
    cdef readonly unsigned long long salt
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t position
    cdef object _file
    cdef bint _failed

    cpdef object append(self, bytes records)
