from sherd.shard.lsm.engine_following cimport EngineFollowing


cdef class Engine(EngineFollowing):
    pass
