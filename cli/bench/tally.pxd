from sherd.cli.bench.dialect cimport Dialect
from sherd.cli.bench.histogram cimport Histogram


cdef class Tally:
    cdef readonly unsigned long long requests, errors, missing, rows, keys
    cdef readonly unsigned long long began, last_reply, longest_gap, behind_max
    cdef readonly str first_error
    cdef readonly Histogram histogram

    cdef begin(self, unsigned long long now)
    cdef arrive(self, unsigned long long now)
    cdef absorb(self, Dialect dialect)
    cpdef fail(self, str problem, unsigned long long times=?)
