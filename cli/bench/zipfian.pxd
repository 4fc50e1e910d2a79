cdef class Zipfian:
    cdef readonly unsigned long long count
    cdef double _theta, _alpha, _head, _zeta, _second, _eta

    cdef _prepare(self)
    cpdef grow(self, unsigned long long count)
    cpdef unsigned long long rank(self, double fraction) except? -1
