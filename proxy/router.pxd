from sherd.common.wire.requests cimport RequestReader
from sherd.common.wire.scanner cimport Scanner
from sherd.proxy.routes cimport Routes
from sherd.proxy.session cimport Dispatcher, Session


cdef class Router(Dispatcher):
    cdef Routes _routes
    cdef RequestReader _reader
    cdef object _monotonic
    cdef dict _calls, _methods
    cdef double _timeout_s
    cdef readonly Py_ssize_t requests
    cdef public bint stopping
    cdef bint _read_only

    cdef look_at_clock(self)
    cdef dispatch(self, Session session, Scanner scanner)
    cdef _forward(self, Session session, Scanner scanner, int method)
    cdef _call(self, Session session, Scanner scanner, bytes name)
