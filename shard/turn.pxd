from sherd.shard.lsm.engine cimport Engine
from sherd.shard.replies cimport ReplyGate


cdef class Turn:
    cdef Engine _engine
    cdef ReplyGate _gate
    cdef object _policy
    cdef object _loop
    cdef object _after_commit
    cdef object _on_poison
    cdef object _clock
    cdef object _place
    cdef public object ship
    cdef public object may_answer
    cdef double _idle_seconds
    cdef unsigned long long _ops
    cdef bint _scheduled
    cdef bint _stopped
    cdef object _syncing
    cdef bint _sync_wanted
    cdef object _synced
    cdef unsigned long long _segment
    cdef unsigned long long _covered_lsn
    cdef unsigned long long _idle_lsn
    cdef Py_ssize_t _delays_running
    cdef object _thread
    cdef list _timers

    cpdef schedule(self)
    cpdef end(self)
    cdef bint _is_sync_due(self)
    cdef _delay_writes(self)
