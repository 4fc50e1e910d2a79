cdef unsigned long long now_ns() except? -1
