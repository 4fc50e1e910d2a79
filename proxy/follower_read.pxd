from sherd.common.wire.requests cimport RequestReader
from sherd.proxy.link cimport Link
from sherd.proxy.pending cimport Pending
from sherd.proxy.routes cimport Routes


cdef class FollowerRead(Pending):
    cdef Routes _routes
    cdef Link _link
    cdef Pending _read

    cdef answer(self, bytes data, Py_ssize_t error, Py_ssize_t result, Py_ssize_t end)
    cpdef refuse(self, object error)
    cdef _ask_leader(self)


cdef submit_read(Routes routes, Pending read, RequestReader reader)
