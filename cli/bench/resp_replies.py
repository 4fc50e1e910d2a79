"""Finds replies of Redis's protocol (RESP 2) in a stream of bytes.

A reply is a line ending in CR LF that begins with ``+`` (status), ``-`` (error), ``:`` (integer), ``$`` (the size of a
string that follows, and CR LF; -1 for none) or ``*`` (the count of replies that follow as its items).
"""

import cython

from sherd.common.errors import Internal

LINE_BYTES_MAX = 1 << 16

_LINE_BYTES_MAX = cython.declare(cython.Py_ssize_t, LINE_BYTES_MAX)


@cython.cfunc
def line_end(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The position after the line that begins at ``pos``; -1 if it is cut off. Internal if it is endless."""
    at: cython.Py_ssize_t = pos
    while at < end - 1:
        if data[at] == 13 and data[at + 1] == 10:
            return at + 2
        at += 1
    if end - pos > _LINE_BYTES_MAX:
        raise Internal("the server's answer is not RESP: a line without an end")
    return -1


@cython.cfunc
def line_number(data: bytes, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.longlong:
    """The number from 0 in the line that begins at ``pos`` and ends before ``stop``; -1 for any negative one."""
    number: cython.longlong = 0
    digit: cython.int
    at: cython.Py_ssize_t
    if data[pos + 1] == 45:
        return -1
    for at in range(pos + 1, stop - 2):
        digit = data[at] - 48
        if digit < 0 or digit > 9 or number > 1 << 40:
            raise Internal("the server's answer is not RESP: no number where one must be")
        number = number * 10 + digit
    return number


@cython.cfunc
def reply_end(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, depth: cython.int) -> cython.Py_ssize_t:
    """The position after the reply at ``pos``, beyond ``end`` if it is known to be cut off there; -1 if it is cut off
    and more is not known. Internal if it is no reply, or arrays nest over ``depth``."""
    stop: cython.Py_ssize_t = line_end(data, pos, end)
    if stop < 0:
        return -1
    kind: cython.int = data[pos]
    count: cython.longlong
    if kind == 43 or kind == 45 or kind == 58:
        return stop
    if (kind != 36 and kind != 42) or depth <= 0:
        raise Internal("the server's answer is not RESP")
    count = line_number(data, pos, stop)
    if count < 0:
        return stop
    if kind == 36:
        return stop + cython.cast(cython.Py_ssize_t, count) + 2
    while count > 0:
        if stop >= end:
            return -1
        stop = reply_end(data, stop, end, depth - 1)
        if stop < 0:
            return -1
        count -= 1
    return stop


@cython.final
@cython.cclass
class RespReplies:
    """The replies of one connection: ``data[start:end]`` is the one that ``next`` found."""

    def __init__(self) -> None:
        self.data = b""
        self.start = self.end = 0
        self._held = bytearray()
        self._needed = 0

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
        self.start = self.end = 0

    @cython.ccall
    @cython.exceptval(-1)
    def next(self) -> cython.int:
        """Whether another whole reply is at hand. Internal if the bytes are no replies."""
        whole: cython.Py_ssize_t = len(self.data)
        if self.end >= whole:
            return 0
        stop: cython.Py_ssize_t = reply_end(self.data, self.end, whole, 2)
        if stop < 0 or stop > whole:
            self._held += self.data[self.end :]
            self._needed = stop - self.end if stop > 0 else 0
            self.data = b""
            self.start = self.end = 0
            return 0
        self.start = self.end
        self.end = stop
        return 1
