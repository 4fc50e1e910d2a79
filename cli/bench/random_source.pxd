cdef unsigned long long mix64(unsigned long long number) except? -1

cdef class RandomSource:
    cdef unsigned long long _state

    cpdef unsigned long long draw(self) except? -1
    cpdef unsigned long long below(self, unsigned long long count) except? -1
    cpdef double fraction(self) except? -1
