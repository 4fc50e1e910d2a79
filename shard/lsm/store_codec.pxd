cdef class StoreCodec:
    cdef object _codec
    cdef object _packer
    cdef Py_ssize_t _value_bytes_max
    cdef bint _keys_are_bytes
    cdef bint _values_are_plain

    cpdef bytes key(self, object key)
    cpdef bytes value(self, object value)
    cdef bytes _packed(self, object value)
    cpdef object read_value(self, bytes data)
