from sherd.shard.lsm.engine cimport Engine
from sherd.shard.lsm.entry cimport Entry
from sherd.shard.lsm.store_codec cimport StoreCodec


cdef class StoreCore:
    cdef readonly Engine _engine
    cdef readonly StoreCodec _codec
    cdef readonly object _work
    cdef readonly object _clock
    cdef readonly object _lock
    cdef readonly object _timer
    cdef readonly bint _read_only
    cdef bint _has_janitor
    cdef readonly long _pid
    cdef unsigned long long _segment
    cdef public double _look_at  # when the janitor is looked after next
    cdef bint _sync_each
    cdef unsigned long long _sync_ops
    cdef double _sync_seconds
    cdef double _synced_at

    cdef object _read(self, Entry entry, object meta)
    cpdef object _check_process(self)
    cpdef object _begin_write(self)
    cdef object _end_write(self, object sync)
    cdef bint _sync_due(self) except -1
    cpdef object _sync(self)
    cpdef object _wait_for_work(self)
