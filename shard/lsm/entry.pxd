cdef class Entry:
    cdef readonly bytes value
    cdef readonly unsigned long long lsn
    cdef readonly unsigned long long expiry_ms
    cdef readonly unsigned char kind

cdef bint live_at(Entry entry, unsigned long long now_ms) except? -1
cdef Entry make_entry(unsigned long long lsn, unsigned char kind, unsigned long long expiry_ms, bytes value)
