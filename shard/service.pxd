from sherd.common.topology.token_map cimport TokenMap
from sherd.common.wire.requests cimport RequestReader
from sherd.common.wire.scanner cimport Scanner
from sherd.shard.lsm.engine cimport Engine
from sherd.shard.replies cimport ReplyGate, ReplySink


cdef class ShardService:
    cdef readonly object limits
    cdef readonly long shard_id
    cdef readonly Engine engine
    cdef readonly ReplyGate gate
    cdef public TokenMap token_map
    cdef readonly object admin
    cdef public bint overloaded
    cdef public bint following
    cdef public object refusal

    cdef int own(self, bytes key) except -1
    cpdef int lead_only(self) except -1
    cdef int writable(self, bint in_sync) except -1
    cdef unsigned long long rests_on(self, unsigned long long seen_lsn, bint in_sync) except? 0


cdef class ServiceConnection:
    cdef readonly ShardService service
    cdef readonly ReplySink sink
    cdef public str peer
    cdef public object proxy
    cdef public long long stale_ms
    cdef readonly bint stalled
    cdef readonly bint greeted
    cdef Py_ssize_t _owed_bytes_max
    cdef Scanner _scanner
    cdef RequestReader _reader

    cdef _serve(self)
    cdef int _dispatch(self, bytes data, bytes method) except -1
    cdef int _check_reader(self) except -1
    cdef _reply_written(self, bytes result, unsigned long long seen)
    cdef bytes _with_place(self, bytes result)
    cdef _get(self, bytes data)
    cdef _put(self, bytes data)
    cdef _delete(self, bytes data)
    cdef _mget(self, bytes data)
    cdef _batch(self, bytes data)
