from sherd.cli.bench.key_choice cimport Inserts, KeyChoice
from sherd.cli.bench.permutation cimport Permutation
from sherd.cli.bench.random_source cimport RandomSource
from sherd.cli.bench.slots cimport Slots


cdef class Workload:
    cdef readonly RandomSource random
    cdef Inserts _inserts
    cdef KeyChoice _choice
    cdef Permutation _shuffle
    cdef unsigned char[::1] _kinds
    cdef double[::1] _ends
    cdef int _scan_rows
    cdef bint _scan_rows_random, _in_order
    cdef unsigned long long _place, _keys

    cdef next(self, Slots slots, int slot)
    cdef int _draw_kind(self) except? -1
    cdef unsigned long long _next_in_order(self) except? -1
    cdef int answered(self, Slots slots, int slot, int good) except? -1
