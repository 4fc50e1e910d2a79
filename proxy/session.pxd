from sherd.common.wire.scanner cimport Scanner
from sherd.proxy.outlet cimport Outlet, Turn


cdef class Budget:
    cdef public Py_ssize_t bytes_max
    cdef public Py_ssize_t bytes


cdef class Dispatcher:
    cdef dispatch(self, Session session, Scanner scanner)
    cdef look_at_clock(self)


cdef class Session(Outlet):
    cdef readonly Dispatcher dispatcher
    cdef readonly Scanner scanner
    cdef readonly Budget budget
    cdef readonly Py_ssize_t inflight, inflight_bytes
    cdef Py_ssize_t _inflight_max, _inflight_bytes_max, _unread_bytes_max, _buffered_bytes, _unread_bytes
    cdef readonly bint stalled, choked, closed, ending
    cdef bint _paused
    cdef public bint errors_as_text
    cdef readonly Py_ssize_t frames
    cdef Py_ssize_t _frames_seen
    cdef readonly double waiting_since
    cdef public object name

    cpdef pump(self)
    cdef _account_buffered(self)
    cpdef begin(self, Py_ssize_t size)
    cpdef finish(self, Py_ssize_t size)
    cpdef bint hold(self, Py_ssize_t size)
    cdef _stall(self)
    cdef bint _may_resume(self)
    cpdef reply(self, bytes msgid, bytes result)
    cpdef fail(self, bytes msgid, object error)
    cdef forward(self, bytes msgid, bytes data, Py_ssize_t error, Py_ssize_t result, Py_ssize_t end)
    cpdef flush(self)
    cpdef measure_unread(self)
    cpdef lose(self)
