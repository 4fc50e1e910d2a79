from sherd.shard.lsm.engine_core cimport EngineCore


cdef class Engine(EngineCore):
    pass
