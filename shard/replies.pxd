cdef class ReplySink:
    cdef readonly list parts
    cdef public object outlet
    cdef public bint closing
    cdef readonly Py_ssize_t ready_bytes
    cdef readonly Py_ssize_t held_bytes
    cdef bint _dirty

    cpdef bytes take(self)

cdef class ReplyGate:
    cdef readonly unsigned long long synced_lsn
    cdef public double write_delay_seconds
    cdef readonly unsigned long long replicated_lsn
    cdef unsigned long long _slack
    cdef readonly bint in_sync
    cdef readonly long in_sync_min
    cdef readonly long in_sync_count
    cdef bint _unbounded
    cdef list _dirty
    cdef object _held
    cdef object _copying
    cdef object _delayed

    cpdef reply(
        self, ReplySink sink, bytes msgid, bytes result, unsigned long long seen_lsn, bint sync, bint is_write,
        bint in_sync=*
    )
    cpdef int admit(self, bint in_sync) except -1
    cpdef error(self, ReplySink sink, bytes msgid, bytes body, unsigned long long seen_lsn)
    cpdef Py_ssize_t held(self)
    cpdef Py_ssize_t copying(self)
    cpdef Py_ssize_t delayed(self)
    cpdef list take_dirty(self)
    cdef _hold(self, unsigned long long needed, unsigned long long copied, ReplySink sink, list parts)
    cdef _pass(self, ReplySink sink, list parts, unsigned long long needed, unsigned long long copied)
    cdef unsigned long long _needed(self, unsigned long long seen_lsn, bint sync)
