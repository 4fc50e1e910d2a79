cdef class RequestReader:
    cdef readonly bytes key
    cdef readonly Py_ssize_t value_start, value_end
    cdef readonly Py_ssize_t options_start, options_end
    cdef readonly long long deadline_ms
    cdef readonly bint meta, sync, return_old, insync
    cdef readonly long long ttl_ms, stale_ms
    cdef readonly long at_shard
    cdef readonly unsigned long long at_term, at_lsn
    cdef readonly object if_version
    cdef Py_ssize_t _value_bytes_max

    cpdef read_get(self, bytes data, Py_ssize_t params, Py_ssize_t end)
    cpdef read_put(self, bytes data, Py_ssize_t params, Py_ssize_t end)
    cpdef read_delete(self, bytes data, Py_ssize_t params, Py_ssize_t end)
    cdef _clear(self)
    cdef Py_ssize_t _take_key(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t _take_value(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t _take_options(self, bytes data, Py_ssize_t pos, Py_ssize_t end, int allowed) except -1
    cdef Py_ssize_t _take_option(self, bytes data, bytes name, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef Py_ssize_t _open_params(self, bytes data, Py_ssize_t params, Py_ssize_t end, Py_ssize_t least, Py_ssize_t most) except -1
    cpdef list read_mget(self, bytes data, Py_ssize_t params, Py_ssize_t end)
    cpdef list read_batch(self, bytes data, Py_ssize_t params, Py_ssize_t end)
    cdef Py_ssize_t _take_operation(self, bytes data, Py_ssize_t pos, Py_ssize_t end, list operations) except -1


cdef class BatchOperation:
    cdef readonly bint is_put
    cdef readonly bytes key
    cdef readonly Py_ssize_t start, end
    cdef readonly Py_ssize_t value_start, value_end
    cdef readonly long long ttl_ms
    cdef readonly object if_version
