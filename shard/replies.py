"""The gate that every reply of a shard passes: it is released only when all it has seen is durable enough.

A reply that has seen log position L (an entry, a tombstone, or its own write) may leave once the log is synced up to
``L - slack``: slack is 0 under ``always``, N under ``ops:N``, and unbounded under ``interval:T`` and ``os``, where the
write that ends every loop turn is enough. Where acknowledgements are ``insync``, every member of the in-sync set has to
have L too, and while that set is smaller than ``in_sync_min`` no more is acknowledged, however little is left in it. A
request may ask for more (``sync``, ``insync``), never for less.

Invariants: replies collect in their connection's sink and leave only by ``take_dirty``, which the turn calls after its
commit and at no other time; of the replies that wait for the same - the log's sync, or the followers - none overtakes
another, and those that wait for followers hold up no others; a poisoned shard drops all of them. What a connection is
owed is counted, so that whoever feeds requests in can stop before it grows without bound.
"""

from collections import deque
from typing import Any

import cython

from sherd.common.errors import Unavailable
from sherd.common.wire.encode import NIL, REPLY

LSN_MAX = 2**64 - 1
REPLY_OVERHEAD_BYTES = 384
"""What a held reply takes in memory beside its result: its parts, their list, and its place in the queue."""
_OVERHEAD = cython.declare(cython.Py_ssize_t, REPLY_OVERHEAD_BYTES)


@cython.final
@cython.cclass
class ReplySink:
    """What one connection is owed. ``parts`` are to be joined and sent at the end of the turn, ``ready_bytes`` is what
    they take; ``held_bytes`` what replies take that may not leave yet. ``outlet`` has the method ``send(data)``. After
    ``closing`` is set nothing more is taken from the peer; the connection ends when the last reply has left.
    """

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.outlet: Any = None
        self.closing = False
        self.ready_bytes = self.held_bytes = 0
        self._dirty = False

    @cython.ccall
    def take(self) -> bytes:
        """The bytes to send now; the sink is empty and clean after."""
        data = b"".join(self.parts)
        self.parts = []
        self.ready_bytes = 0
        self._dirty = False
        return data


@cython.final
@cython.cclass
class ReplyGate:
    """Holds back replies of one shard. ``slack`` None means unbounded; ``in_sync``: followers have to have it too.

    ``in_sync_count`` is how many replicas are in sync as far as the leader knows, itself among them; with fewer than
    ``in_sync_min`` nothing is acknowledged as ``insync``.
    """

    def __init__(self, slack: int | None, synced_lsn: int, in_sync: bool = False, in_sync_min: int = 1) -> None:
        self._unbounded = slack is None
        self._slack = slack or 0
        self.in_sync = in_sync
        self.in_sync_min = in_sync_min
        self.in_sync_count = 1
        self.synced_lsn = synced_lsn
        self.replicated_lsn = LSN_MAX
        self.write_delay_seconds = 0.0
        self._dirty: list[ReplySink] = []
        self._held: deque[tuple[int, int, ReplySink, list[bytes]]] = deque()
        self._copying: deque[tuple[int, int, ReplySink, list[bytes]]] = deque()
        self._delayed: deque[tuple[int, int, ReplySink, list[bytes]]] = deque()

    @cython.ccall
    def reply(
        self,
        sink: ReplySink,
        msgid: bytes,
        result: bytes,
        seen_lsn: cython.ulonglong,
        sync: cython.bint,
        is_write: cython.bint,
        in_sync: cython.bint = False,
    ) -> None:
        """A result (encoded) for the request ``msgid`` (encoded) that has seen ``seen_lsn`` (0 = nothing unsynced)."""
        needed: cython.ulonglong = self._needed(seen_lsn, sync)
        copied: cython.ulonglong = seen_lsn if in_sync or self.in_sync else 0
        size: cython.Py_ssize_t = len(result) + _OVERHEAD
        if is_write and self.write_delay_seconds > 0:
            sink.held_bytes += size
            self._delayed.append((needed, copied, sink, [REPLY, msgid, NIL, result]))
        elif needed <= self.synced_lsn and copied <= self.replicated_lsn:
            sink.ready_bytes += size
            parts: list[bytes] = sink.parts
            parts.append(REPLY)
            parts.append(msgid)
            parts.append(NIL)
            parts.append(result)
            if not sink._dirty:
                sink._dirty = True
                self._dirty.append(sink)
        else:
            sink.held_bytes += size
            self._hold(needed, copied, sink, [REPLY, msgid, NIL, result])

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def admit(self, in_sync: cython.bint) -> cython.int:
        """Refuse a write before it is executed if too few replicas are in sync for what it, or the cluster, asks."""
        if self.in_sync_count < self.in_sync_min and (in_sync or self.in_sync):
            raise Unavailable(
                f"replicas in sync: {self.in_sync_count}, needed for acks insync: {self.in_sync_min}; "
                "the write was not executed"
            )
        return 0

    @cython.ccall
    def error(self, sink: ReplySink, msgid: bytes, body: bytes, seen_lsn: cython.ulonglong) -> None:
        """An error (its encoded error and result fields) for the request ``msgid``."""
        sink.held_bytes += len(body) + _OVERHEAD
        self._pass(sink, [REPLY, msgid, body], self._needed(seen_lsn, False), seen_lsn if self.in_sync else 0)

    def touch(self, sink: ReplySink) -> None:
        """Have the outlet of ``sink`` called at the end of the turn, even if there is nothing to send."""
        if not sink._dirty:
            sink._dirty = True
            self._dirty.append(sink)

    @cython.cfunc
    def _needed(self, seen_lsn: cython.ulonglong, sync: cython.bint) -> cython.ulonglong:
        if sync:
            return seen_lsn
        if self._unbounded or seen_lsn <= self._slack:
            return 0
        return seen_lsn - self._slack

    @cython.cfunc
    def _pass(
        self,
        sink: ReplySink,
        parts: list,  # type: ignore[type-arg]
        needed: cython.ulonglong,
        copied: cython.ulonglong,
    ) -> None:
        """Move a reply that was held, or counts as held, on to where it may go now."""
        if needed > self.synced_lsn or copied > self.replicated_lsn:
            self._hold(needed, copied, sink, parts)
            return
        size: cython.Py_ssize_t = len(parts[len(parts) - 1]) + _OVERHEAD
        sink.held_bytes -= size
        sink.ready_bytes += size
        sink.parts.extend(parts)
        if not sink._dirty:
            sink._dirty = True
            self._dirty.append(sink)

    @cython.cfunc
    def _hold(
        self,
        needed: cython.ulonglong,
        copied: cython.ulonglong,
        sink: ReplySink,
        parts: list,  # type: ignore[type-arg]
    ) -> None:
        if needed > self.synced_lsn:
            self._held.append((needed, copied, sink, parts))
        else:
            self._copying.append((needed, copied, sink, parts))

    @cython.ccall
    def held(self) -> cython.Py_ssize_t:
        """How many replies wait for the log to be synced."""
        return len(self._held)

    @cython.ccall
    def copying(self) -> cython.Py_ssize_t:
        """How many replies wait for followers, and for nothing else."""
        return len(self._copying)

    @cython.ccall
    def delayed(self) -> cython.Py_ssize_t:
        """How many write replies wait for back-pressure to let them go."""
        return len(self._delayed)

    def synced(self, lsn: int) -> None:
        """The log is durable up to ``lsn``: release what waited for that."""
        self.synced_lsn = lsn
        while self._held and self._held[0][0] <= self.synced_lsn:
            _, copied, sink, parts = self._held.popleft()
            self._pass(sink, parts, 0, copied)

    def replicated(self, lsn: int | None, in_sync_count: int = 1) -> bool:
        """Every other member of the in-sync set, of ``in_sync_count`` with the leader, has the log up to ``lsn``; None:
        there is no other. Whether replies left.

        What was executed before the set became too small is not acknowledged by those who are left.
        """
        self.in_sync_count = in_sync_count
        if in_sync_count < self.in_sync_min:
            return False
        self.replicated_lsn = LSN_MAX if lsn is None else lsn
        before = len(self._copying)
        while self._copying and self._copying[0][1] <= self.replicated_lsn:
            _, _, sink, parts = self._copying.popleft()
            self._pass(sink, parts, 0, 0)
        return len(self._copying) < before

    def follow(self) -> None:
        """This replica leads no longer, and what it reads waits for no followers. What has waited for them until now is
        not answered: nobody will tell whether they have it.
        """
        sink: ReplySink
        for waiting in (self._held, self._copying, self._delayed):
            for reply in [reply for reply in waiting if reply[1] > self.replicated_lsn]:
                waiting.remove(reply)
                sink = reply[2]
                sink.held_bytes -= len(reply[3][-1]) + _OVERHEAD
        self.in_sync_count = 1
        self.replicated_lsn = LSN_MAX

    def release_delayed(self, count: int) -> None:
        """Let the ``count`` oldest delayed write replies go on to the durability check."""
        for _ in range(min(count, len(self._delayed))):
            needed, copied, sink, parts = self._delayed.popleft()
            self._pass(sink, parts, needed, copied)

    @cython.ccall
    def take_dirty(self) -> list:  # type: ignore[type-arg]
        """The sinks with something to send."""
        dirty = self._dirty
        self._dirty = []
        return dirty

    def drop(self) -> None:
        """Release nothing that has not left yet: the shard is poisoned."""
        sink: ReplySink
        for sink in self._dirty:
            sink.take()
        self._dirty = []
        self._held.clear()
        self._copying.clear()
        self._delayed.clear()
