from sherd.shard.lsm.entry cimport Entry


cdef class Version:
    cdef readonly tuple levels
    cdef tuple _newest_first
    cdef tuple _sorted_levels

    cpdef Entry find(self, bytes key, unsigned long long key_hash)
