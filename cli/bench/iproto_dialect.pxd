from sherd.cli.bench.dialect cimport Dialect
from sherd.cli.bench.iproto_replies cimport IprotoReplies
from sherd.cli.bench.outgoing cimport Outgoing
from sherd.cli.bench.slots cimport Slots


cdef class IprotoDialect(Dialect):
    cdef IprotoReplies _replies
    cdef unsigned int _space
    cdef unsigned char[::1] _awaited

    cdef _append_replace(self, Outgoing out, unsigned long long number)
    cdef _append_select(self, Outgoing out, unsigned long long number, unsigned int limit, unsigned int iterator)
    cdef int _judge_one(self, Py_ssize_t at, unsigned long long number, int may_miss) except? -1
    cdef int _judge_rows(self, Py_ssize_t at, Slots slots, int slot) except? -1
    cdef long long _row_number(self, Py_ssize_t at, Py_ssize_t stop) except? -1
    cdef int _check_value(self, Py_ssize_t at, Py_ssize_t stop, unsigned long long number) except? -1
    cdef str _error_text(self)
