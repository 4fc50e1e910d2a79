from sherd.common.wire.scanner cimport Scanner
from sherd.proxy.outlet cimport Outlet, Turn
from sherd.proxy.pending cimport Pending


cdef class Probe(Pending):
    cdef double give_up_at

    cdef answer(self, bytes data, Py_ssize_t error, Py_ssize_t result, Py_ssize_t end)
    cpdef refuse(self, object error)


cdef class Link(Outlet):
    cdef readonly long shard
    cdef readonly object purpose
    cdef readonly object replica
    cdef public bint up, barred
    cdef bint _ordered
    cdef readonly Py_ssize_t live, held_bytes, refusals
    cdef public double retry_at
    cdef object _bounds
    cdef Scanner _scanner
    cdef list _slots, _free, _held, _returned
    cdef unsigned long long _order, _sent_order
    cdef double _heard_at
    cdef Probe _probe
    cdef Py_ssize_t _slots_max, _backlog_bytes, _backlog_bytes_max

    cpdef submit(self, Pending pending, double now)
    cdef _stage(self, Pending pending)
    cdef _hold(self, Pending pending, double now)
    cpdef flush(self)
    cpdef drain(self, double now)
    cdef bint _is_refusal(self, Scanner scanner)
    cdef _turn_back(self, Pending pending, double now)
