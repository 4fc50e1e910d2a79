cdef class Schedule:
    cdef double _interval_ns
    cdef unsigned long long _lanes, _start
    cdef readonly unsigned long long next

    cpdef begin(self, unsigned long long now)
    cpdef unsigned long long due_at(self, unsigned long long request) except? -1
    cpdef unsigned long long due_on(self, unsigned long long lane, unsigned long long count) except? -1
    cpdef unsigned long long deal(self) except? -1
