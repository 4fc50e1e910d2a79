from sherd.common.topology.token_map cimport TokenMap
from sherd.common.wire.requests cimport RequestReader
from sherd.common.wire.scanner cimport Scanner
from sherd.proxy.pending cimport Pending
from sherd.proxy.routes cimport Routes
from sherd.proxy.session cimport Session


cdef class Gather:
    cdef Session session
    cdef bytes msgid, options
    cdef Py_ssize_t size
    cdef bint batch
    cdef list _parts
    cdef Py_ssize_t _waiting, _reply_bytes, _reply_max

    cdef end_part(self, Part part)
    cdef _hold(self, Part part)
    cdef _finish(self)
    cdef bytes _join(self)


cdef class Part(Pending):
    cdef Gather gather
    cdef list items
    cdef bytes reply
    cdef Py_ssize_t pos
    cdef object failure

    cdef seal(self)
    cdef answer(self, bytes data, Py_ssize_t error, Py_ssize_t result, Py_ssize_t end)
    cpdef refuse(self, object error)
    cpdef list split(self, TokenMap token_map)


cdef begin_gather(
    Routes routes, Session session, Scanner scanner, RequestReader reader, double deadline, bint batch
)
