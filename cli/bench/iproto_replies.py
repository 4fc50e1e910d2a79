"""Finds replies of Tarantool's protocol, iproto, in a stream of bytes.

The server begins with a greeting of 128 bytes. A reply is the size of what follows, an unsigned integer; a header, a
map in which 0 is the code (0, or 0x8000 + the number of an error) and 1 the ``sync`` of the request; and a body, a map
too. All of it is MessagePack. Replies come in any order.

Invariant: where ``next`` has found a reply, its header and its body are whole and well-formed.
"""

import cython

from sherd.common.errors import Internal

if cython.compiled:
    from cython.cimports.sherd.common.wire.primitives import big_endian, pair_count, pairs_start, skip
else:
    from sherd.common.wire.primitives import big_endian, pair_count, pairs_start, skip

GREETING_BYTES = 128
GREETING_START = b"Tarantool "
REPLY_BYTES_MAX = 1 << 30
DEPTH_MAX = 32

_GREETING_BYTES = cython.declare(cython.Py_ssize_t, GREETING_BYTES)
_REPLY_BYTES_MAX = cython.declare(cython.longlong, REPLY_BYTES_MAX)
_DEPTH = cython.declare(cython.int, DEPTH_MAX)

_CODE = cython.declare(cython.int, 0)
_SYNC = cython.declare(cython.int, 1)


@cython.cfunc
def unsigned_at(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.longlong:
    """The unsigned integer at ``pos``; -1 if there is none, if it is cut off, or over 2**63."""
    if pos < 0 or pos >= end:
        return -1
    head: cython.uint = data[pos]
    if head <= 0x7F:
        return head
    if head < 0xCC or head > 0xCF:
        return -1
    size: cython.Py_ssize_t = 1 << (head - 0xCC)
    if size > end - pos - 1 or (size == 8 and data[pos + 1] > 0x7F):
        return -1
    return cython.cast(cython.longlong, big_endian(data, pos + 1, size))


@cython.final
@cython.cclass
class IprotoReplies:
    """The replies of one connection. Of the one that ``next`` found: ``code`` and ``sync``, -1 where the header has
    none, and its body, ``data[body:end]``, which is empty where there is none."""

    def __init__(self) -> None:
        self.data = b""
        self.body = self.end = 0
        self.code = self.sync = -1
        self._held = bytearray()
        self._needed = self._next = 0
        self._is_greeted = False

    @cython.ccall
    def feed(self, data: bytes) -> None:
        """Take the bytes received next. Call ``next`` until False before feeding again."""
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return
            data = bytes(self._held)
            self._held.clear()
        self.data = data
        self._next = 0

    @cython.ccall
    @cython.exceptval(-1)
    def next(self) -> cython.int:
        """Whether another whole reply is at hand. Internal if the bytes are no replies."""
        if not self._is_greeted and not self._greet():
            return 0
        whole: cython.Py_ssize_t = len(self.data)
        pos: cython.Py_ssize_t = self._next
        if pos >= whole:
            return 0
        start: cython.Py_ssize_t = pos + 1
        if self.data[pos] > 0x7F:
            if self.data[pos] < 0xCC or self.data[pos] > 0xCF:
                raise Internal("the server's answer is not iproto: it begins with no size")
            start += 1 << (self.data[pos] - 0xCC)
        if start > whole:
            return self._hold(0)
        size: cython.longlong = unsigned_at(self.data, pos, whole)
        if size < 0 or size > _REPLY_BYTES_MAX:
            raise Internal("the server's answer is not iproto: a size beyond all bounds")
        stop: cython.Py_ssize_t = start + cython.cast(cython.Py_ssize_t, size)
        if stop > whole:
            return self._hold(stop - pos)
        self._next = stop
        self._read_header(start, stop)
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _greet(self) -> cython.int:
        """Whether the greeting is there and behind us."""
        if not GREETING_START.startswith(self.data[: len(GREETING_START)]):
            raise Internal("the server does not greet as Tarantool does")
        if len(self.data) < _GREETING_BYTES:
            return self._hold(_GREETING_BYTES)
        self._is_greeted = True
        self._next = _GREETING_BYTES
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _hold(self, needed: cython.Py_ssize_t) -> cython.int:
        """Keep the rest until ``needed`` bytes of it are there, as far as that is known; 0."""
        self._held += self.data[self._next :]
        self._needed = needed
        self.data = b""
        self._next = 0
        return 0

    @cython.cfunc
    def _read_header(self, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> None:
        """Find ``code``, ``sync`` and the body between ``pos`` and ``stop``."""
        data: bytes = self.data
        key: cython.longlong
        pairs: cython.Py_ssize_t = pair_count(data, pos, stop)
        body: cython.Py_ssize_t = skip(data, pos, stop, _DEPTH)
        if pairs < 0 or body < 0:
            raise Internal("the server's answer is not iproto: no header")
        self.code = self.sync = -1
        pos = pairs_start(data, pos, stop)
        for _i in range(pairs):
            key = unsigned_at(data, pos, body)
            pos = skip(data, pos, body, _DEPTH)
            if key == _CODE:
                self.code = unsigned_at(data, pos, body)
            elif key == _SYNC:
                self.sync = unsigned_at(data, pos, body)
            pos = skip(data, pos, body, _DEPTH)
        if body < stop and (pair_count(data, body, stop) < 0 or skip(data, body, stop, _DEPTH) != stop):
            raise Internal("the server's answer is not iproto: no body")
        self.body = body
        self.end = stop

    @cython.cfunc
    @cython.exceptval(-1)
    def find(self, key: cython.uint) -> cython.Py_ssize_t:
        """Where the value of ``key`` in the body begins, or -1."""
        pairs: cython.Py_ssize_t = pair_count(self.data, self.body, self.end)
        pos: cython.Py_ssize_t = pairs_start(self.data, self.body, self.end)
        is_it: cython.int
        for _i in range(pairs):
            is_it = unsigned_at(self.data, pos, self.end) == key
            pos = skip(self.data, pos, self.end, _DEPTH)
            if is_it:
                return pos
            pos = skip(self.data, pos, self.end, _DEPTH)
        return -1
