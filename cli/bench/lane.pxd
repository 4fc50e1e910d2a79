from sherd.cli.bench.dialect cimport Dialect
from sherd.cli.bench.outgoing cimport Outgoing
from sherd.cli.bench.slots cimport Slots


cdef class Lane:
    cdef readonly object sock
    cdef readonly int fd, index
    cdef Slots slots
    cdef Dialect dialect
    cdef bytes unsent
    cdef unsigned char[::1] _room
    cdef unsigned long long due, begun

    cdef bytes receive(self)
    cdef int send(self, Outgoing out) except? -1
    cdef Py_ssize_t _write(self, Outgoing out) except? -1
    cdef int push(self) except? -1
