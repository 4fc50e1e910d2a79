cdef bytes piece(bytes data, Py_ssize_t start, Py_ssize_t end)
cdef Py_ssize_t skip(bytes data, Py_ssize_t pos, Py_ssize_t end, int depth) except? -1
cdef Py_ssize_t payload_start(bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
cdef Py_ssize_t items_start(bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
cdef Py_ssize_t item_count(bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
cdef Py_ssize_t pairs_start(bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
cdef Py_ssize_t pair_count(bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
cdef unsigned long long big_endian(bytes data, Py_ssize_t pos, Py_ssize_t size) except? -1
