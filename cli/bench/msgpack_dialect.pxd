from sherd.cli.bench.dialect cimport Dialect
from sherd.cli.bench.outgoing cimport Outgoing
from sherd.cli.bench.slots cimport Slots
from sherd.common.wire.scanner cimport Scanner


cdef class MsgpackDialect(Dialect):
    cdef Scanner _scanner
    cdef Py_ssize_t _row_bytes

    cdef _append_put(self, Outgoing out, bytes head, unsigned long long number)
    cdef _append_scan(self, Outgoing out, Slots slots, int slot)
    cdef int _check_value(self, bytes data, Py_ssize_t at, Py_ssize_t end, unsigned long long number) except? -1
    cdef int _judge_items(self, bytes data, Py_ssize_t at, Slots slots, int slot) except? -1
    cdef int _judge_page(self, bytes data, Py_ssize_t at, Slots slots, int slot) except? -1
    cdef long long _row_number(self, bytes data, Py_ssize_t at, Py_ssize_t stop) except? -1
