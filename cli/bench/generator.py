"""The loop of the load generator: one process, one epoll, all connections; compiled, it is not what limits a store.

Closed loop: every connection has ``depth`` requests in flight, and an answer makes the next request; latency is from
sending. Open loop, with a ``Schedule``: requests are due at fixed times, sent then if the connection has a free slot
and else when it has, and latency is from when they were due.

A run warms up, counts, and drains: after the counted time nothing new becomes due, and answers still on their way are
awaited and counted.
"""

import select
from collections.abc import Callable, Sequence

import cython

from sherd.cli.bench.dialect import BAD, MORE

if cython.compiled:
    from cython.cimports.sherd.cli.bench.dialect import Dialect
    from cython.cimports.sherd.cli.bench.lane import Lane
    from cython.cimports.sherd.cli.bench.outgoing import Outgoing
    from cython.cimports.sherd.cli.bench.schedule import Schedule
    from cython.cimports.sherd.cli.bench.slots import Slots
    from cython.cimports.sherd.cli.bench.tally import Tally
    from cython.cimports.sherd.cli.bench.ticks import now_ns
    from cython.cimports.sherd.cli.bench.workload import Workload
else:
    from sherd.cli.bench.dialect import Dialect
    from sherd.cli.bench.lane import Lane
    from sherd.cli.bench.outgoing import Outgoing
    from sherd.cli.bench.schedule import Schedule
    from sherd.cli.bench.slots import Slots
    from sherd.cli.bench.tally import Tally
    from sherd.cli.bench.ticks import now_ns
    from sherd.cli.bench.workload import Workload

SECOND = 1_000_000_000
DRAIN_SECONDS = 10
"""How long answers are awaited when the time is over. What has none then counts as an error."""

SILENCE_SECONDS = 60
"""A run ends when requests are in flight and nothing at all has arrived for so long."""

TICK_NS = SECOND // 10

NAP_NS = 100_000
"""The shortest wait for what is due next. Above 10,000 requests/s those of a nap go out together, the first of them
late by a nap, which its latency counts: to wake for each would take more of the processor than to send it, and the
store under test may need the same one."""

_EPOLLOUT = cython.declare(cython.uint, select.EPOLLOUT)
_MORE = cython.declare(cython.int, MORE)
_BAD = cython.declare(cython.int, BAD)
_TICK_NS = cython.declare(cython.ulonglong, TICK_NS)
_NAP_NS = cython.declare(cython.ulonglong, NAP_NS)
_DRAIN_NS = cython.declare(cython.ulonglong, DRAIN_SECONDS * SECOND)
_SILENCE_NS = cython.declare(cython.ulonglong, SILENCE_SECONDS * SECOND)


@cython.final
@cython.cclass
class Generator:
    """Drives ``lanes`` with requests of ``workload``; what comes of it is in ``tally``.

    ``on_tick`` is called ten times a second, ``on_count`` when the warm-up is over.
    """

    def __init__(
        self,
        poll: select.epoll,
        lanes: Sequence[Lane],
        workload: Workload,
        tally: Tally,
        schedule: Schedule | None = None,
    ) -> None:
        self._poll = poll
        self._lanes = list(lanes)
        self._by_fd = {lane.fd: lane for lane in lanes}
        self._workload = workload
        self._schedule = schedule
        self._tally = tally
        self._out = Outgoing()
        for lane in lanes:
            poll.register(lane.fd, select.EPOLLIN)
        self._left = self._flying = self._waiting = 0
        self._counting = self._sending = False
        self._began = self._end = self._heard = 0

    def run(
        self,
        seconds: float,
        warmup: float,
        requests: int,
        on_tick: Callable[[], None],
        on_count: Callable[[], None],
    ) -> None:
        """Send for ``warmup`` and then ``seconds``, or until ``requests`` were sent after the warm-up; see it drain.

        ConnectionError if a connection is lost, TimeoutError if the server falls silent.
        """
        now: cython.ulonglong = now_ns()
        ticked: cython.ulonglong = now
        stopped: cython.ulonglong = now
        self._began = now + int(warmup * SECOND)
        self._end = self._began + int(seconds * SECOND)
        self._left = requests
        self._sending = True
        self._heard = now
        if self._began == now:
            self._count_from_here(now, on_count)
        self._start(now)
        while True:
            if not self._counting and now >= self._began:
                self._count_from_here(now, on_count)
            if self._sending and (now >= self._end or self._left == 0):
                if self._schedule is not None:
                    self._deal(self._schedule)
                self._sending = False
                stopped = now
            if not self._sending and (self._flying + self._waiting == 0 or now - stopped > _DRAIN_NS):
                break
            if now - self._heard > _SILENCE_NS and self._flying > 0:
                raise TimeoutError(f"the server has answered nothing for {SILENCE_SECONDS} s")
            self._turn(now)
            now = now_ns()
            if now - ticked > _TICK_NS:
                ticked = now
                on_tick()
        if self._flying > 0:
            self._tally.fail(f"no answer within {DRAIN_SECONDS} s of the end", self._flying)

    @cython.cfunc
    def _count_from_here(self, now: cython.ulonglong, on_count: object) -> None:
        self._counting = True
        self._tally.begin(now)
        on_count()  # type: ignore[operator]

    @cython.cfunc
    def _start(self, now: cython.ulonglong) -> None:
        lane: Lane
        if self._schedule is not None:
            self._schedule.begin(now)
            return
        for lane in self._lanes:
            self._fill(lane)

    @cython.cfunc
    def _turn(self, now: cython.ulonglong) -> None:
        """Wait until something arrives or is due, and see to it."""
        seconds: cython.double = 0.1
        due: cython.ulonglong
        if self._schedule is not None:
            if self._sending:
                due = self._schedule.due_at(self._schedule.next)
                seconds = 1e-9 * min(max(due - now, _NAP_NS), _TICK_NS) if due > now else 0.0
            if seconds > 0.0:  # epoll waits for whole milliseconds only
                select.select([self._poll], [], [], seconds)
                seconds = 0.0
        for fd, events in self._poll.poll(seconds):
            self._serve(self._by_fd[fd], events)
        if self._schedule is not None and self._sending:
            self._deal(self._schedule)

    @cython.cfunc
    def _serve(self, lane: Lane, events: cython.uint) -> None:
        if events & _EPOLLOUT and lane.push():
            self._poll.modify(lane.fd, select.EPOLLIN)
        if events & ~_EPOLLOUT:
            self._take_replies(lane)
            self._fill(lane)

    @cython.cfunc
    def _deal(self, schedule: Schedule) -> None:
        """Give the requests that are due, before the end, to their connections."""
        now: cython.ulonglong = now_ns()
        due: cython.ulonglong = schedule.due_at(schedule.next)
        lane: Lane
        while self._left > 0 and due <= now and due < self._end:
            if due >= self._began:
                self._left -= 1
            lane = self._lanes[schedule.deal()]
            lane.due += 1
            self._waiting += 1
            if lane.slots.free > 0:
                self._fill(lane)
            due = schedule.due_at(schedule.next)

    @cython.cfunc
    def _take_replies(self, lane: Lane) -> None:
        """Read, check every reply, and put what goes on in the same slot into ``_out``."""
        data: bytes = lane.receive()
        now: cython.ulonglong = now_ns()
        dialect: Dialect = lane.dialect
        slots: Slots = lane.slots
        slot: cython.int
        verdict: cython.int
        counted: cython.int
        if len(data) == 0:
            return
        self._heard = now
        if self._counting:
            self._tally.arrive(now)
        dialect.feed(data)
        while True:
            slot = dialect.next(slots)
            if slot < 0:
                break
            verdict = dialect.judge(slots, slot)
            counted = self._counting and slots.sent_at[slot] >= self._began
            if counted:
                self._tally.absorb(dialect)
            dialect.rows = dialect.keys = dialect.missing = 0
            if verdict == _MORE or self._workload.answered(slots, slot, verdict != _BAD):
                dialect.append(self._out, slots, slot)
                continue
            if counted:
                self._tally.requests += 1
                self._tally.histogram.record(now - slots.sent_at[slot])
                if verdict == _BAD:
                    self._tally.fail(dialect.problem)
            slots.release(slot)
            self._flying -= 1

    @cython.cfunc
    def _fill(self, lane: Lane) -> None:
        """Begin requests in the free slots, as far as there are any to begin, and send all that is in ``_out``."""
        now: cython.ulonglong = now_ns()
        due: cython.ulonglong
        if self._schedule is None:
            while self._sending and self._left > 0 and lane.slots.free > 0:
                if self._counting:
                    self._left -= 1
                self._begin(lane, now)
        else:
            while lane.begun < lane.due and lane.slots.free > 0:
                due = self._schedule.due_on(lane.index, lane.begun)
                lane.begun += 1
                self._waiting -= 1
                if self._counting and now > due + self._tally.behind_max:
                    self._tally.behind_max = now - due
                self._begin(lane, due)
        if self._out.used > 0:
            if lane.send(self._out):
                self._poll.modify(lane.fd, select.EPOLLIN | select.EPOLLOUT)
            self._out.used = 0

    @cython.cfunc
    def _begin(self, lane: Lane, since: cython.ulonglong) -> None:
        slot: cython.int = lane.slots.take()
        lane.slots.sent_at[slot] = since
        self._workload.next(lane.slots, slot)
        lane.dialect.append(self._out, lane.slots, slot)
        self._flying += 1
