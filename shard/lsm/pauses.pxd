cimport cython


@cython.final
cdef class Pauses:
    cdef object _pause
    cdef Py_ssize_t _left

    cpdef int spend(self, Py_ssize_t nbytes) except -1
