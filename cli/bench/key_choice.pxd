from sherd.cli.bench.random_source cimport RandomSource
from sherd.cli.bench.zipfian cimport Zipfian


cdef class Inserts:
    cdef readonly unsigned long long next, present
    cdef unsigned char[::1] _answered

    cpdef int can_take(self) except? -1
    cpdef unsigned long long take(self) except? -1
    cpdef answer(self, unsigned long long number)


cdef class KeyChoice:
    cdef unsigned long long _count
    cdef bint _latest
    cdef RandomSource _random
    cdef Inserts _inserts
    cdef Zipfian _zipfian

    cpdef unsigned long long pick(self) except? -1
