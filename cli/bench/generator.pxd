from sherd.cli.bench.lane cimport Lane
from sherd.cli.bench.outgoing cimport Outgoing
from sherd.cli.bench.schedule cimport Schedule
from sherd.cli.bench.tally cimport Tally
from sherd.cli.bench.workload cimport Workload


cdef class Generator:
    cdef object _poll
    cdef list _lanes
    cdef dict _by_fd
    cdef Workload _workload
    cdef Schedule _schedule
    cdef Tally _tally
    cdef Outgoing _out
    cdef bint _counting, _sending
    cdef unsigned long long _left, _flying, _waiting, _began, _end, _heard

    cdef _count_from_here(self, unsigned long long now, on_count)
    cdef _start(self, unsigned long long now)
    cdef _turn(self, unsigned long long now)
    cdef _serve(self, Lane lane, unsigned int events)
    cdef _deal(self, Schedule schedule)
    cdef _take_replies(self, Lane lane)
    cdef _fill(self, Lane lane)
    cdef _begin(self, Lane lane, unsigned long long since)
