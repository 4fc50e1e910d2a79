from sherd.shard.lsm.segment cimport SegmentWriter


cdef class Wal:
    cdef readonly Py_ssize_t capacity
    cdef readonly SegmentWriter active
    cdef readonly SegmentWriter prepared
    cdef readonly unsigned long long written_lsn
    cdef readonly unsigned long long synced_lsn
    cdef readonly unsigned long long header_synced_lsn
    cdef readonly unsigned long long bytes_written
    cdef unsigned long long _ticket_bytes
    cdef object _directory
    cdef object _disk
    cdef object _random
    cdef object _next_number
    cdef list _rolled
    cdef object _ticket
    cdef bint _dirty

    cpdef object append(self, bytes records, unsigned long long last_lsn)
    cdef object _append(self, bytes records)
