from sherd.shard.lsm.engine_core cimport EngineCore
from sherd.shard.lsm.segment_scan cimport RecordHeader


cdef class EngineFollowing(EngineCore):
    cpdef apply(self, RecordHeader header, bytes body)
