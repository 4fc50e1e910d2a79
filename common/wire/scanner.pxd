cdef class Scanner:
    cdef readonly bytes data
    cdef readonly int kind
    cdef readonly bytes msgid
    cdef readonly unsigned int number
    cdef readonly Py_ssize_t frame_start, frame_end
    cdef readonly Py_ssize_t method_start, method_end, params_start
    cdef readonly Py_ssize_t error_start, result_start
    cdef bint _responses, _dead
    cdef bytes _chunk
    cdef bytearray _held
    cdef Py_ssize_t _pos, _origin, _frame_bytes_max, _batch_frame_bytes_max, _limit, _payload
    cdef int _depth
    cdef unsigned long long _remaining[136]
    cdef Py_ssize_t _head_bytes
    cdef long long _items

    cpdef feed(self, bytes data)
    cpdef int next(self) except -1
    cdef int _advance(self) except -1
    cdef int _finish(self, Py_ssize_t pos) except -1
    cdef _begin_frame(self)
    cdef Py_ssize_t _read_head(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef int _open_frame(self, bytes data, Py_ssize_t pos) except -1
    cdef int _enter_field(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
    cdef _refuse(self, error)
