from sherd.cli.bench.dialect cimport Dialect
from sherd.cli.bench.outgoing cimport Outgoing
from sherd.cli.bench.resp_replies cimport RespReplies


cdef class RespDialect(Dialect):
    cdef RespReplies _replies

    cdef _append_key(self, Outgoing out, unsigned long long number)
    cdef _append_value(self, Outgoing out, unsigned long long number)
    cdef int _check_value(self, bytes data, Py_ssize_t start, Py_ssize_t end, unsigned long long number) except? -1
