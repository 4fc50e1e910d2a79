"""One pipelined connection to one shard, without the I/O.

Requests go out in the order they are submitted, each in a slot whose index is its msgid on this link; responses find
their request by it. A slot stays taken until its response comes or the connection dies, also when its request has
long been given up, so that a late answer can't be taken for another's.

What happens to a request when the connection dies depends on how far it was. Not yet handed to the transport: held.
Sent, and a read: held again, to be resent - unless a write to one of its keys was sent behind it, whose effect it
could see: then UNAVAILABLE. Sent, and a write: its outcome is unknown, TIMEOUT, never resent. Held requests wait in
order until the link is open again, up to ``failover_hold_s`` and ``held_bytes_max``.

A shard that answers WRONG_SHARD or NOT_LEADER has not executed the request. A point link then holds everything
(``barred``) until what was sent before has been answered, so that ``take_back`` can give all unfinished requests, in
their order, to whoever decides where they go now. On a scan link, where order means nothing, it is an answer.

Invariants: ``live`` slots hold a request that is not done; a held request is in no slot; nothing is sent while held
requests wait.
"""

import math

import cython

from sherd.common.errors import Overloaded, Timeout, Unavailable, WireError
from sherd.common.limits import Limits
from sherd.proxy.bounds import Bounds

if cython.compiled:
    from cython.cimports.sherd.common.wire.primitives import items_start
    from cython.cimports.sherd.common.wire.scanner import Scanner
    from cython.cimports.sherd.proxy.outlet import Outlet, Turn
    from cython.cimports.sherd.proxy.pending import Pending
else:
    from sherd.common.wire.primitives import items_start
    from sherd.common.wire.scanner import Scanner
    from sherd.proxy.outlet import Outlet, Turn
    from sherd.proxy.pending import Pending

_WRONG_SHARD = cython.declare(cython.int, 30)
_NOT_LEADER = cython.declare(cython.int, 31)
REFUSED_PAUSE_S = 0.02
_PING = cython.declare(bytes, b"\xa4ping\x90")


class LinkBroken(Exception):
    """The shard said something that is no response to a request of ours; the connection must be dropped."""


@cython.cclass
class Probe(Pending):
    """A ping of the link's own; that it was answered is all that matters."""

    def __init__(self, give_up_at: float) -> None:
        self.begin(_PING, b"", math.inf)
        self.give_up_at = give_up_at

    @cython.cfunc
    def answer(self, data: bytes, error: cython.Py_ssize_t, result: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        self.done = True

    @cython.ccall
    def refuse(self, error: WireError) -> None:
        self.done = True


@cython.cclass
class Link(Outlet):
    """The requests of this proxy to one shard. ``shard`` is its id, ``purpose`` "point" or "scan" or what it is called
    where the link is not to the leader but to ``replica``. ``retry_at`` is when it may be used again.
    """

    def __init__(self, turn: Turn, shard: int, purpose: str, bounds: Bounds, replica: str = "") -> None:
        Outlet.__init__(self, turn)
        self.shard = shard
        self.purpose = purpose
        self.replica = replica
        self._ordered = purpose == "point"
        self.up = self.barred = False
        self.live = 0
        self.held_bytes = 0
        self.refusals = 0
        self.retry_at = 0.0
        self._bounds = bounds
        self._scanner = Scanner(Limits(), responses=True)
        self._slots: list[Pending | None] = []
        self._free: list[int] = []
        self._held: list[Pending] = []
        self._returned: list[Pending] = []
        self._order = self._sent_order = 1
        self._heard_at = 0.0
        self._probe: Probe | None = None
        self._slots_max = bounds.link_requests_max
        self._backlog_bytes = 0
        self._backlog_bytes_max = bounds.link_backlog_bytes_max

    @property
    def held(self) -> int:
        """How many requests wait for this link to open, or for a decision where they go."""
        return len(self._held) + len(self._returned)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self.live == 0 and not self._held and not self._returned

    @cython.ccall
    def submit(self, pending: Pending, now: cython.double) -> None:
        """Send ``pending``, or hold it until that is possible. It ends by its ``answer`` or ``refuse``."""
        if not self.up or self.barred:
            self._hold(pending, now)
        elif len(self._slots) - len(self._free) >= self._slots_max:
            pending.refuse(Overloaded(f"shard {self.shard} has {self._slots_max} requests under way"))
        elif self._backlog_bytes + self._used > self._backlog_bytes_max:
            pending.refuse(Overloaded(f"shard {self.shard} does not read its requests"))
        else:
            self._stage(pending)

    @cython.cfunc
    def _stage(self, pending: Pending) -> None:
        slot: cython.uint
        if self._free:
            slot = self._free.pop()
            self._slots[slot] = pending
        else:
            slot = len(self._slots)
            self._slots.append(pending)
        pending.order = self._order
        self._order += 1
        self.live += 1
        self.turn.touch(self)
        self.append_request_head(slot)
        self.append(pending.payload, 0, len(pending.payload))

    @cython.cfunc
    def _hold(self, pending: Pending, now: cython.double) -> None:
        if pending.hold_until == 0.0:
            pending.hold_until = now + self._bounds.failover_hold_s
        if self.held_bytes + len(pending.payload) > self._bounds.held_bytes_max:
            pending.refuse(Unavailable(f"shard {self.shard} has no leader, and too many requests wait for it"))
            return
        pending.order = self._order
        self._order += 1
        self.held_bytes += len(pending.payload)
        self._held.append(pending)

    @cython.ccall
    def flush(self) -> None:
        """Write what was collected; from here on it counts as sent. Called by the turn."""
        if self.sink is None:
            return
        self._sent_order = self._order
        self.sink.write(self.take())
        self._backlog_bytes = self.sink.get_write_buffer_size()

    def open(self, scanner: Scanner, now: float) -> None:
        """The connection is there and the shard has greeted; ``scanner`` goes on reading it. ``sink`` is set."""
        self._scanner = scanner
        self._slots = []
        self._free = []
        self.live = 0
        self._probe = None
        self._heard_at = now
        self._backlog_bytes = 0
        self.up = True
        if not self.barred:
            self.resubmit(self.take_back(), now)

    def feed(self, data: bytes, now: float) -> None:
        """Hand in what the shard sent. LinkBroken or FramingError: drop the connection."""
        self._heard_at = now
        self._scanner.feed(data)
        self.drain(now)

    @cython.ccall
    def drain(self, now: cython.double) -> None:
        """Take the responses at hand."""
        scanner: Scanner = self._scanner
        pending: Pending
        while self.up and scanner.next():
            if scanner.number >= cython.cast(cython.Py_ssize_t, len(self._slots)):
                raise LinkBroken(f"answers request {scanner.number}, which was not asked")
            if self._slots[scanner.number] is None:
                raise LinkBroken(f"answers request {scanner.number} twice")
            pending = cython.cast(Pending, self._slots[scanner.number])
            self._slots[scanner.number] = None
            self._free.append(scanner.number)
            if pending.done:
                continue
            self.live -= 1
            if self._ordered and scanner.data[scanner.error_start] != 0xC0 and self._is_refusal(scanner):
                self._turn_back(pending, now)
            else:
                pending.answer(scanner.data, scanner.error_start, scanner.result_start, scanner.frame_end)

    @cython.cfunc
    def _is_refusal(self, scanner: Scanner) -> cython.bint:
        code: cython.Py_ssize_t = items_start(scanner.data, scanner.error_start, scanner.result_start)
        if code < 0 or code >= scanner.result_start:
            return False
        number: cython.int = scanner.data[code]
        return number in (_WRONG_SHARD, _NOT_LEADER)

    @cython.cfunc
    def _turn_back(self, pending: Pending, now: cython.double) -> None:
        if pending.hold_until == 0.0:
            pending.hold_until = now + self._bounds.failover_hold_s
        if not self.barred:
            self.barred = True
            self.retry_at = now + REFUSED_PAUSE_S
        self.refusals += 1
        self.held_bytes += len(pending.payload)
        self._returned.append(pending)

    def take_back(self) -> list[Pending]:
        """All requests that are held or were refused by the shard, in the order they came; the link lets go of them."""
        back = sorted(self._returned + self._held, key=_order_of)
        self._returned = []
        self._held = []
        self.held_bytes = 0
        return back

    def resubmit(self, pendings: list[Pending], now: float) -> None:
        """Submit what was taken back, from this link or others."""
        for pending in pendings:
            if not pending.done:
                self.submit(pending, now)

    def lose(self, now: float) -> None:
        """The connection is gone."""
        self.sink = None
        if not self.up:
            return
        self.up = False
        self.take()
        if self._probe is not None:
            self._probe.done = True
        unanswered = [pending for pending in self._slots if pending is not None and not pending.done]
        unanswered.sort(key=_order_of)
        self._slots = []
        self._free = []
        self.live = 0
        self._requeue(unanswered, now)

    def _requeue(self, unanswered: list[Pending], now: float) -> None:
        """Decide for each request of a dead connection, given in order: hold, TIMEOUT, or UNAVAILABLE."""
        written: set[bytes] = set()
        kept: list[Pending] = []
        lost = Timeout(f"the connection to shard {self.shard} broke after the request was sent; its outcome is unknown")
        overtaken = Unavailable(f"the connection to shard {self.shard} broke, and a write was sent behind this read")
        ended: list[tuple[Pending, WireError]] = []
        for pending in reversed(unanswered):
            keys = pending.keys or [pending.key]
            if pending.order >= self._sent_order:
                kept.append(pending)
            elif pending.writes:
                written.update(keys)
                ended.append((pending, lost))
            elif written.isdisjoint(keys):
                kept.append(pending)
            else:
                ended.append((pending, overtaken))
        for pending, error in reversed(ended):
            pending.refuse(error)
        for pending in kept:
            if pending.hold_until == 0.0:
                pending.hold_until = now + self._bounds.failover_hold_s
            self.held_bytes += len(pending.payload)
        self._held = kept[::-1] + self._held

    def expire(self, now: float) -> bool:
        """Give up what is overdue. To be called regularly; False if the shard has gone silent: drop the connection."""
        pending: Pending
        if self.sink is not None:
            self._backlog_bytes = self.sink.get_write_buffer_size()
        if self.live > 0:
            for found in self._slots:
                if found is None:
                    continue
                pending = cython.cast(Pending, found)
                if not pending.done and pending.deadline <= now:
                    self.live -= 1
                    pending.refuse(Timeout(f"shard {self.shard} has not answered in time; the outcome is unknown"))
        if self._held or self._returned:
            self._held = self._expire_waiting(self._held, now)
            self._returned = self._expire_waiting(self._returned, now)
        return self._probe_silence(now)

    def _expire_waiting(self, waiting: list[Pending], now: float) -> list[Pending]:
        left = []
        for pending in waiting:
            if min(pending.hold_until, pending.deadline) > now:
                left.append(pending)
                continue
            self.held_bytes -= len(pending.payload)
            pending.refuse(Unavailable(f"shard {self.shard} has no leader that takes the request; it was not executed"))
        return left

    def _probe_silence(self, now: float) -> bool:
        if not self.up or now - self._heard_at < self._bounds.silence_s / 2:
            return True
        if self._probe is None or self._probe.done:
            self._probe = Probe(now + self._bounds.silence_s / 2)
            self._stage(self._probe)
        return now < self._probe.give_up_at


@cython.cfunc
def _read_order(pending: Pending) -> cython.ulonglong:
    return pending.order


def _order_of(pending: Pending) -> int:
    return _read_order(pending)
