from sherd.cli.bench.outgoing cimport Outgoing
from sherd.cli.bench.slots cimport Slots
from sherd.cli.bench.values cimport Values


cdef class Dialect:
    cdef Values values
    cdef unsigned long long rows, keys, missing
    cdef readonly str problem

    cdef append(self, Outgoing out, Slots slots, int slot)
    cdef feed(self, bytes data)
    cdef int next(self, Slots slots) except? -1
    cdef int judge(self, Slots slots, int slot) except? -1
    cdef int wrong(self, str problem) except? -1
    cdef long long key_number(self, bytes data, Py_ssize_t at) except? -1
