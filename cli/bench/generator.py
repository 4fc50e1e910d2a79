"""A closed-loop load generator: C connections, each with P requests in flight, driven by one epoll loop.

The hot part of ``sherd bench``, compiled. A request's msgid is its slot on its connection, so that latency is measured
per request however the replies are ordered. Every reply is checked: an error counts as one, and a get's value must have
the size that was put.
"""

import random
import select
import socket
import time

import cython

from sherd.cli.bench.histogram import Histogram
from sherd.common.net.address import Address

if cython.compiled:
    from cython.cimports.sherd.common.wire.primitives import big_endian, skip
else:
    from sherd.common.wire.primitives import big_endian, skip

RECEIVE_BYTES = 1 << 18
KEY_BYTES = 16
REPLY_DEPTH_MAX = 140

SET, GET, MIXED = 0, 1, 2


@cython.final
@cython.cclass
class Source:
    """Requests to send: random keys out of ``key_count``, values cut out of a pool of random bytes."""

    _kind: cython.int
    _key_count: cython.ulonglong
    _state: cython.ulonglong
    _next: cython.longlong
    _value_bytes: cython.Py_ssize_t
    _pool: bytes
    _value_head: bytes

    def __init__(self, kind: int, key_count: int, value_bytes: int, seed: int) -> None:
        rng = random.Random(seed)
        self._kind = kind
        self._next = -1
        self._key_count = key_count
        self._state = rng.getrandbits(63) | 1
        self._value_bytes = value_bytes
        self._pool = rng.randbytes(1 << 20 if value_bytes < 1 << 19 else 2 * value_bytes)
        if value_bytes < 1 << 8:
            self._value_head = bytes((0xC4, value_bytes))
        elif value_bytes < 1 << 16:
            self._value_head = b"\xc5" + value_bytes.to_bytes(2, "big")
        else:
            self._value_head = b"\xc6" + value_bytes.to_bytes(4, "big")

    @cython.cfunc
    def draw(self) -> cython.ulonglong:
        """A random 64-bit number (xorshift64*, Vigna)."""
        x: cython.ulonglong = self._state
        x ^= x >> 12
        x ^= (x << 25) & 0xFFFFFFFFFFFFFFFF
        x ^= x >> 27
        self._state = x
        return (x * 0x2545F4914F6CDD1D) & 0xFFFFFFFFFFFFFFFF

    @cython.cfunc
    def key(self, number: cython.ulonglong) -> bytes:
        return b"%016d" % number

    @cython.cfunc
    def value(self, at: cython.ulonglong) -> bytes:
        start: cython.Py_ssize_t = at % (len(self._pool) - self._value_bytes)
        return self._pool[start : start + self._value_bytes]

    @cython.cfunc
    def append_request(self, parts: list[bytes], msgid: bytes) -> None:
        number: cython.ulonglong = self.draw()
        key: cython.ulonglong = (number >> 8) % self._key_count
        if self._next >= 0:
            key = self._next
            self._next += 1
        parts.append(b"\x94\x00")
        parts.append(msgid)
        if self._kind == GET or (self._kind == MIXED and (number >> 60) & 1):
            parts.append(b"\xa3get\x91\xc4\x10")
            parts.append(self.key(key))
            return
        parts.append(b"\xa3put\x92\xc4\x10")
        parts.append(self.key(key))
        parts.append(self._value_head)
        parts.append(self.value(number >> 20))

    def count_up(self) -> None:
        """From now on draw keys in order instead, each once."""
        self._next = 0


@cython.final
@cython.cclass
class Lane:
    """One connection and its requests in flight; ``sent_at`` by slot, in seconds."""

    sock: socket.socket
    tail: bytes
    sent_at: list[float]
    msgids: list[bytes]
    free: list[int]
    unsent: bytes

    def __init__(self, sock: socket.socket, pipeline: int) -> None:
        self.sock = sock
        self.tail = b""
        self.unsent = b""
        self.sent_at = [0.0] * pipeline
        self.msgids = [bytes((i,)) if i < 128 else b"\xcd" + i.to_bytes(2, "big") for i in range(pipeline)]
        self.free = list(range(pipeline))


@cython.cclass
class Generator:
    """Drives ``connections`` lanes against ``addresses`` in turn until ``finish_at`` or ``requests`` are answered."""

    _source: Source
    _lanes: dict[int, Lane]
    _poll: select.epoll
    _value_bytes: cython.Py_ssize_t
    done: cython.ulonglong
    errors: cython.ulonglong
    missing: cython.ulonglong
    longest_gap: cython.double
    histogram: Histogram
    _counts: dict[int, int]
    first_error: bytes

    def __init__(
        self, addresses: list[Address], connections: int, pipeline: int, source: Source, value_bytes: int
    ) -> None:
        self._source = source
        self._value_bytes = value_bytes
        self._lanes = {}
        self._poll = select.epoll()
        self.histogram = Histogram()
        self._counts = {}
        self.done = self.errors = self.missing = 0
        self.longest_gap = 0.0
        self.first_error = b""
        for i in range(connections):
            address = addresses[i % len(addresses)]
            sock = socket.socket(socket.AF_UNIX if address.is_unix else socket.AF_INET)
            sock.settimeout(10)
            sock.connect(address.path if address.is_unix else (address.host, address.port))
            if not address.is_unix:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self._lanes[sock.fileno()] = Lane(sock, pipeline)
            self._poll.register(sock.fileno(), select.EPOLLIN)

    def run(self, seconds: float, requests: int) -> dict[str, object]:
        """Send until ``seconds`` have passed or ``requests`` were answered; counts, rate and quantiles in us."""
        started: cython.double = time.perf_counter()
        now: cython.double = started
        last: cython.double = started
        lane: Lane
        for lane in self._lanes.values():
            self._send(lane, now)
        while now - started < seconds and self.done < requests:
            for fd, _event in self._poll.poll(1.0):
                lane = self._lanes[fd]
                self._receive(lane, now)
                if lane.free:
                    self._send(lane, now)
            now = time.perf_counter()
            if now - last > self.longest_gap:
                self.longest_gap = now - last
            last = now
        for latency_us, times in self._counts.items():
            self.histogram.add(latency_us, times)
        return self.report(now - started)

    def report(self, seconds: float) -> dict[str, object]:
        """What has been measured so far."""
        histogram: Histogram = self.histogram
        return {
            "requests": self.done,
            "seconds": round(seconds, 3),
            "per_second": round(self.done / seconds) if seconds else 0,
            "errors": self.errors,
            "first_error": self.first_error.decode(errors="replace"),
            "missing": self.missing,
            "p50_us": histogram.quantile(0.5),
            "p90_us": histogram.quantile(0.9),
            "p99_us": histogram.quantile(0.99),
            "p999_us": histogram.quantile(0.999),
            "max_us": histogram.max_us,
            "longest_gap_ms": round(self.longest_gap * 1000, 1),
        }

    def close(self) -> None:
        """Close every connection."""
        lane: Lane
        for lane in self._lanes.values():
            lane.sock.close()
        self._poll.close()

    @cython.cfunc
    def _send(self, lane: Lane, now: cython.double) -> None:
        parts: list[bytes] = []
        slot: cython.Py_ssize_t
        for slot in lane.free:
            self._source.append_request(parts, lane.msgids[slot])
            lane.sent_at[slot] = now
        lane.free = []
        lane.unsent += b"".join(parts)
        self._push(lane)

    @cython.cfunc
    def _push(self, lane: Lane) -> None:
        try:
            sent: cython.Py_ssize_t = lane.sock.send(lane.unsent)
        except BlockingIOError:
            sent = 0
        lane.unsent = lane.unsent[sent:]
        events = select.EPOLLIN | (select.EPOLLOUT if lane.unsent else 0)
        if lane.unsent or sent == 0:
            self._poll.modify(lane.sock.fileno(), events)

    @cython.cfunc
    def _receive(self, lane: Lane, now: cython.double) -> None:
        if lane.unsent:
            self._push(lane)
            if not lane.unsent:
                self._poll.modify(lane.sock.fileno(), select.EPOLLIN)
        try:
            data: bytes = lane.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the server closed a connection")
        now = time.perf_counter()
        if lane.tail:
            data = lane.tail + data
        end: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        stop: cython.Py_ssize_t
        while pos < end:
            stop = skip(data, pos, end, REPLY_DEPTH_MAX)
            if stop < 0:
                break
            self._count(lane, data, pos, stop, now)
            pos = stop
        lane.tail = data[pos:]

    @cython.cfunc
    def _count(
        self, lane: Lane, data: bytes, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t, now: cython.double
    ) -> None:
        slot: cython.Py_ssize_t = data[pos + 2]
        error_at: cython.Py_ssize_t = skip(data, pos + 2, stop, 0)
        if slot > 0x7F:
            slot = big_endian(data, pos + 3, error_at - pos - 3)
        sent_at: cython.double = lane.sent_at[slot]
        latency_us: cython.longlong = cython.cast(cython.longlong, (now - sent_at) * 1e6)
        self._counts[latency_us] = self._counts.get(latency_us, 0) + 1
        lane.free.append(slot)
        self.done += 1
        if data[error_at] != 0xC0:
            self.errors += 1
            if not self.first_error:
                self.first_error = data[error_at:stop]
        elif data[error_at + 1] == 0xC0:
            self.missing += 1
        elif stop - error_at - 1 > 16 and stop - error_at - 1 < self._value_bytes:
            self.errors += 1
