from sherd.common.topology.token_map cimport TokenMap
from sherd.common.wire.scanner cimport Scanner
from sherd.proxy.session cimport Session


cdef class Pending:
    cdef public bytes payload, key
    cdef public list keys
    cdef public unsigned long long order
    cdef public double deadline, hold_until
    cdef public bint writes, done

    cdef begin(self, bytes payload, bytes key, double deadline)
    cdef answer(self, bytes data, Py_ssize_t error, Py_ssize_t result, Py_ssize_t end)
    cpdef refuse(self, object error)
    cpdef list split(self, TokenMap token_map)


cdef class Forward(Pending):
    cdef Session session
    cdef bytes msgid
    cdef Py_ssize_t size

    cdef come_from(self, Session session, bytes msgid, Py_ssize_t size)
    cdef answer(self, bytes data, Py_ssize_t error, Py_ssize_t result, Py_ssize_t end)
    cpdef refuse(self, object error)


cdef Forward begin_forward(Session session, Scanner scanner, bytes key, double deadline, bint writes)
