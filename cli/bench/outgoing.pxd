cdef class Outgoing:
    cdef Py_ssize_t used
    cdef unsigned char[::1] _data

    cdef reserve(self, Py_ssize_t count)
    cdef put(self, unsigned int byte)
    cdef put_range(self, bytes data, Py_ssize_t start, Py_ssize_t end)
    cdef put_bytes(self, bytes data)
    cdef put_big(self, unsigned long long number, int width)
    cdef put_bin_head(self, Py_ssize_t size)
    cdef put_digits(self, unsigned long long number, Py_ssize_t width)
    cdef put_decimal(self, unsigned long long number)
