from sherd.cli.bench.outgoing cimport Outgoing
from sherd.cli.bench.random_source cimport RandomSource
from sherd.cli.bench.value_sizes cimport ValueSizes


cdef class Values:
    cdef ValueSizes sizes
    cdef RandomSource _random
    cdef bytes _pool

    cdef Py_ssize_t draw_size(self) except? -1
    cdef append(self, Outgoing out, unsigned long long number, Py_ssize_t size)
    cdef int check(self, bytes data, Py_ssize_t start, Py_ssize_t end, unsigned long long number) except? -1
