from sherd.shard.lsm.entry cimport Entry
from sherd.shard.lsm.memtable cimport Memtable
from sherd.shard.lsm.record cimport RecordBuilder
from sherd.shard.lsm.shard_time cimport ShardTime
from sherd.shard.lsm.version cimport Version
from sherd.shard.lsm.wal cimport Wal


cdef class EngineCore:
    cdef readonly bint staged
    cdef readonly bint following
    cdef readonly bint opened_clean
    cdef readonly unsigned long long term
    cdef readonly unsigned long long last_lsn
    cdef readonly unsigned long long written_lsn
    cdef readonly unsigned long long synced_lsn
    cdef readonly unsigned long long seen_lsn
    cdef readonly unsigned long long flushed_lsn
    cdef readonly unsigned long long segment
    cdef readonly str directory
    cdef readonly object options
    cdef readonly object disk
    cdef readonly ShardTime time
    cdef readonly object installer
    cdef readonly Wal wal
    cdef readonly object upkeep
    cdef readonly object counters
    cdef Memtable _active
    cdef tuple _frozen
    cdef Version _version
    cdef public object tail
    cdef list _shipped
    cdef Py_ssize_t _shipped_bytes
    cdef RecordBuilder _builder
    cdef Py_ssize_t _room
    cdef unsigned long long _salt
    cdef Py_ssize_t _memtable_bytes_max
    cdef object _down
    cdef object _lock

    cpdef Entry find(self, bytes key)
    cpdef Entry get(self, bytes key)
    cpdef unsigned long long put(
        self, bytes key, bytes value, unsigned long long expiry_ms=*, object if_version=*
    ) except 0
    cpdef Entry delete(self, bytes key, object if_version=*)
    cpdef list batch(self, list ops)
    cpdef commit(self)
    cdef _take_segment(self)
    cdef _stage(self, int kind, bytes key, bytes value, unsigned long long expiry_ms)
    cdef _make_room(self, Py_ssize_t needed)
    cdef _check_version(self, Entry found, object if_version)
