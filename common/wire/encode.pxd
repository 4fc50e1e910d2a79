cpdef bytes array_header(Py_ssize_t count)
cpdef bytes bin_header(Py_ssize_t size)
cpdef bytes uint(unsigned long long value)
cdef bytes reply_head(bytes msgid)
