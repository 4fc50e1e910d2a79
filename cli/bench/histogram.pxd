cdef class Histogram:
    cdef readonly unsigned long long count, max_ns
    cdef unsigned long long[::1] _counts

    cpdef record(self, unsigned long long latency_ns)
