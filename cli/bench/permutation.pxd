cdef class Permutation:
    cdef unsigned long long _count, _mask, _seed
    cdef int _half_bits

    cpdef unsigned long long at(self, unsigned long long place) except? -1
