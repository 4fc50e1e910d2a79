from sherd.proxy.pending cimport Pending


cdef class Ask(Pending):
    cdef object _then

    cdef answer(self, bytes data, Py_ssize_t error, Py_ssize_t result, Py_ssize_t end)
    cpdef refuse(self, object error)
