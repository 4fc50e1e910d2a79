from sherd.cli.bench.random_source cimport RandomSource


cdef class ValueSizes:
    cdef readonly Py_ssize_t low, high
    cdef double _median, _sigma

    cpdef Py_ssize_t draw(self, RandomSource random) except? -1
