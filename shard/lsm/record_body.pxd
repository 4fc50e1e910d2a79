cimport cython


@cython.final
cdef class OpReader:
    cdef readonly unsigned long long term
    cdef readonly unsigned long long first_lsn
    cdef readonly unsigned long long count
    cdef readonly unsigned long long time_ms
    cdef readonly unsigned long long lsn
    cdef readonly unsigned int kind
    cdef readonly unsigned long long expiry_ms
    cdef readonly unsigned long long version
    cdef readonly bytes key
    cdef readonly bytes value
    cdef readonly Py_ssize_t key_at
    cdef readonly Py_ssize_t value_at
    cdef bytes _body
    cdef Py_ssize_t _pos
    cdef Py_ssize_t _end
    cdef unsigned long long _left

    cpdef bint next(self)
    cdef unsigned int _byte(self)
    cdef unsigned long long _number(self, Py_ssize_t pos, Py_ssize_t width)
    cdef unsigned long long _word(self)
    cdef Py_ssize_t _length(self)
    cdef bytes _bytes(self, Py_ssize_t size)
