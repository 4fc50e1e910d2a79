cdef class Slots:
    cdef int depth, width, free, _first, _waiting
    cdef unsigned char[::1] kinds
    cdef unsigned long long[::1] numbers, sent_at
    cdef int[::1] rows_left, _free, _order
    cdef dict cursors

    cdef int take(self) except? -1
    cdef release(self, int slot)
    cdef push_order(self, int slot)
    cdef int pop_order(self) except? -1
