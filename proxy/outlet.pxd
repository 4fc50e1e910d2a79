from sherd.proxy.buffer cimport Buffer


cdef class Outlet(Buffer):
    cdef readonly Turn turn
    cdef public object sink
    cdef bint _dirty

    cpdef add(self, bytes data)
    cdef add_range(self, bytes data, Py_ssize_t start, Py_ssize_t end)
    cpdef flush(self)


cdef class Turn:
    cdef object _call_soon
    cdef list _dirty

    cdef touch(self, Outlet outlet)
