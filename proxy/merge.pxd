from sherd.proxy.buffer cimport Buffer


cdef class Run:
    cdef readonly long shard
    cdef public bytes resume_start, resume_end
    cdef public bint exhausted, asked
    cdef bytes _rows
    cdef Py_ssize_t _next, _row, _row_end, _key, _key_end

    cdef bint advance(self)


cdef class Merge:
    cdef readonly bint reverse, full
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t _limit, _bytes_max, _key_at, _key_size
    cdef Buffer _rows
    cdef list _heap

    cdef _remove_first(self)
    cdef _sift_up(self, Py_ssize_t position)
    cdef _sift_down(self)
    cdef bint _precedes(self, Run left, Run right)
