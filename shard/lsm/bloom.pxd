cdef bint may_contain(bytes filter, unsigned long long key_hash) except? -1
