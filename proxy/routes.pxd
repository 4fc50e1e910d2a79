from sherd.common.topology.token_map cimport TokenMap
from sherd.proxy.link cimport Link
from sherd.proxy.outlet cimport Turn
from sherd.proxy.pending cimport Pending


cdef class Retry:
    cpdef retry(self)


cdef class Routes:
    cdef public double now
    cdef readonly object bounds
    cdef readonly Py_ssize_t reply_bytes_max
    cdef readonly object topology
    cdef readonly TokenMap map
    cdef public bint refresh_wanted
    cdef readonly long stale_ms
    cdef readonly object followers
    cdef Turn _turn
    cdef object _coming
    cdef list _retries, _points, _scans

    cdef Link link_of(self, bytes key)
    cpdef ask(self, long shard, Pending question)
    cpdef later(self, Retry retry)
    cpdef place(self, Pending pending)
