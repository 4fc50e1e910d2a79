cdef class ShardTime:
    cdef readonly unsigned long long logged_ms
    cdef object _clock
    cdef unsigned long long _shown_ms

    cpdef unsigned long long now_ms(self) except? 0
    cpdef object seen(self, unsigned long long time_ms)
    cpdef object logged(self, unsigned long long time_ms)
