from sherd.shard.lsm.cursor cimport Cursor
from sherd.shard.lsm.entry cimport Entry


cdef class Memtable:
    cdef readonly dict entries
    cdef readonly Py_ssize_t memory_bytes
    cdef readonly Py_ssize_t tombstones
    cdef readonly unsigned long long first_lsn
    cdef readonly unsigned long long last_lsn
    cdef public bint shared
    cdef list _runs
    cdef list _unsorted

    cpdef Entry find(self, bytes key)
    cpdef insert(self, bytes key, Entry entry)
    cpdef list cursors(self)
    cpdef bint forget(self, Py_ssize_t count) except -1
    cdef _sort(self)


cdef class RunCursor(Cursor):
    cdef dict _entries
    cdef list _run
    cdef Py_ssize_t _at

    cdef _show(self, Py_ssize_t at)
