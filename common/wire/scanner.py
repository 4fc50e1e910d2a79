"""Finds frames of MessagePack-RPC in a stream of bytes; the profile stands in FORMAT.md.

A scanner reads each byte once however the stream is cut, decodes no value, and refuses at its header whatever can not
become a lawful frame: before more than that header is buffered. While a frame is incomplete, its consumed bytes wait
in one growing buffer whose size the frame limit bounds; a frame that lies whole in one piece is never copied.

Invariants between calls: ``_pos`` is where scanning goes on in ``_chunk``; the bytes of the current frame are ``_held``
followed by ``_chunk[_origin:]``; ``_depth`` containers are open and ``_remaining[d]`` values are due in the d-th.
"""

import cython

from sherd.common.errors import BadRequest, SherdError, TooLarge, WireError
from sherd.common.limits import FRAME_DEPTH_MAX, METHOD_BYTES_MAX, VALUE_NESTING_MAX, Limits

if cython.compiled:
    from cython.cimports.sherd.common.wire.primitives import big_endian, piece
else:
    from sherd.common.wire.primitives import big_endian, piece

REQUEST = 0
RESPONSE = 1
NOTIFICATION = 2

_DEPTH_MAX = cython.declare(cython.int, FRAME_DEPTH_MAX)
_METHOD_BYTES_MAX = cython.declare(cython.Py_ssize_t, METHOD_BYTES_MAX)


class FramingError(SherdError):
    """The peer broke the framing: answer ``error`` if ``msgid`` (its encoded bytes) is known, then close."""

    def __init__(self, msgid: bytes | None, error: WireError) -> None:
        super().__init__(str(error))
        self.msgid = msgid
        self.error = error


@cython.final
@cython.cclass
class Scanner:
    """One direction of one connection. ``slack_bytes``: how much longer than ``limits`` say a frame may be.

    ``feed`` bytes, then call ``next`` until it says False. After True these describe the frame, until the next call:
    ``data[frame_start:frame_end]`` is the frame, ``kind`` REQUEST, RESPONSE or NOTIFICATION, ``msgid`` its encoded
    bytes and ``number`` its value. In a request ``data[method_start:method_end]`` is the method's name
    (``method_start`` is -1 if it is neither str nor bin) and ``params_start`` where params begin; in a response
    ``error_start`` and ``result_start`` are where those values begin.
    """

    def __init__(self, limits: Limits, responses: bool = False, slack_bytes: int = 0) -> None:
        self._responses = responses
        self._frame_bytes_max = limits.frame_bytes_max + slack_bytes
        self._batch_frame_bytes_max = limits.batch_frame_bytes_max + slack_bytes
        if responses:
            self._frame_bytes_max = self._batch_frame_bytes_max = 2**62
        self._chunk = b""
        self._held = bytearray()
        self._pos = self._origin = 0
        self._remaining = [0] * 136
        self._dead = False
        self._head_bytes = self._items = 0
        self.data = b""
        self.frame_end = 0
        self._begin_frame()

    @property
    def mid_frame(self) -> bool:
        """Whether part of a frame has arrived and the rest is awaited."""
        return self._depth > 0 or self._pos < len(self._chunk)

    @property
    def buffered_bytes(self) -> int:
        """Bytes held for frames not yet handed out: at most the frame limit and the piece fed last."""
        return len(self._held) + len(self._chunk) - (self._origin if self._depth > 0 else self._pos)

    @cython.ccall
    def feed(self, data: bytes) -> None:
        """Hand in the next bytes of the stream. Call ``next`` until False before feeding again."""
        if self._dead:
            return
        rest: cython.Py_ssize_t = len(self._chunk) - self._pos
        if self._depth > 0 and self._pos > self._origin:
            self._held += self._chunk[self._origin : self._pos]
        if rest > 0:
            data = self._chunk[self._pos :] + data
        self._chunk = data
        self._pos = self._origin = 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def next(self) -> cython.int:
        """Whether a whole frame is at hand. Raises FramingError, at the offending header; the scanner is then dead."""
        if self._dead:
            return False
        if self._depth == 0:
            self._begin_frame()
        if self._advance():
            return True
        self.data = b""  # an idle connection holds on to no frame
        if self._depth == 0 and self._pos == len(self._chunk):
            self._chunk = b""
            self._pos = self._origin = 0
        return False

    @cython.cfunc
    def _begin_frame(self) -> None:
        self.kind = -1
        self.msgid = b""
        self.number = 0
        self.method_start = self.method_end = self.params_start = -1
        self.error_start = self.result_start = -1
        self._origin = self._pos
        self._depth = 0
        self._payload = 0
        self._limit = self._frame_bytes_max
        if self._held:
            self._held = bytearray()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _advance(self) -> cython.int:
        data: bytes = self._chunk
        end: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = self._pos
        offset: cython.Py_ssize_t
        while True:
            if self._payload > end - pos:
                self._payload -= end - pos
                self._pos = end
                return False
            if self._payload > 0:
                pos += self._payload
                self._payload = 0
            else:
                if not self._read_head(data, pos, end):
                    self._pos = pos
                    return False
                if self._depth == 0:
                    self._open_frame(data, pos)
                elif self._depth == 1 and not self._enter_field(data, pos, end):
                    self._payload = 0
                    self._pos = pos
                    return False
                offset = len(self._held) + pos - self._origin + self._head_bytes
                if self._payload > self._limit - offset or self._items > self._limit - offset:
                    self._refuse(TooLarge(f"frame is over its limit of {self._limit} bytes"))
                pos += self._head_bytes
                if self._items > 0:
                    if self._depth >= _DEPTH_MAX:
                        self._refuse(TooLarge(f"nesting is over the limit of {VALUE_NESTING_MAX} levels"))
                    self._depth += 1
                    self._remaining[self._depth] = self._items
                    continue
                if self._payload > 0:
                    continue
            while self._depth > 0:
                self._remaining[self._depth] -= 1
                if self._remaining[self._depth] > 0:
                    break
                self._depth -= 1
            if self._depth == 0:
                return self._finish(pos)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _finish(self, pos: cython.Py_ssize_t) -> cython.int:
        """The frame ends at ``pos`` of the chunk: make ``data`` hold all of it and the positions index ``data``."""
        base: cython.Py_ssize_t = self._origin
        if self._held:
            self._held += self._chunk[self._origin : pos]
            self.data = bytes(self._held)
            self._held = bytearray()
            base = 0
            self.frame_end = len(self.data)
        else:
            self.data = self._chunk
            self.frame_end = pos
        self.frame_start = base
        self._pos = pos
        if self.method_start >= 0:
            self.method_start += base
            self.method_end += base
        if self.params_start >= 0:
            self.params_start += base
        if self.result_start >= 0:
            self.error_start += base
            self.result_start += base
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _read_head(self, data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Read one header: its length into ``_head_bytes``, what follows into ``_payload`` bytes or ``_items`` values.

        Returns its length, or 0 when it is not whole yet.
        """
        if pos >= end:
            return 0
        head: cython.uint = data[pos]
        width: cython.Py_ssize_t = 0
        self._payload = 0
        self._items = 0
        self._head_bytes = 1
        if head <= 0x7F or head >= 0xE0 or head == 0xC0 or head == 0xC2 or head == 0xC3:
            return 1
        if head <= 0x8F:
            self._items = 2 * (head & 0x0F)
        elif head <= 0x9F:
            self._items = head & 0x0F
        elif head <= 0xBF:
            self._payload = head & 0x1F
        elif head == 0xC1:
            self._refuse(BadRequest("the byte 0xc1 is not MessagePack"))
        elif head <= 0xC9:
            width = 1 << ((head - 0xC4) % 3)
        elif head <= 0xCB:
            self._payload = 4 << (head - 0xCA)
        elif head <= 0xD3:
            self._payload = 1 << ((head - 0xCC) & 3)
        elif head <= 0xD8:
            self._payload = (1 << (head - 0xD4)) + 1
        elif head <= 0xDB:
            width = 1 << (head - 0xD9)
        else:
            width = 2 << (head & 1)
        if width == 0:
            return 1
        if width > end - pos - 1:
            return 0
        if head >= 0xDC:
            self._items = big_endian(data, pos + 1, width)
            if head >= 0xDE:
                self._items *= 2
        else:
            self._payload = big_endian(data, pos + 1, width)
            if 0xC7 <= head <= 0xC9:
                self._payload += 1
        self._head_bytes = 1 + width
        return self._head_bytes

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _open_frame(self, data: bytes, pos: cython.Py_ssize_t) -> cython.int:
        head: cython.uint = data[pos]
        is_array: cython.bint = 0x90 <= head <= 0x9F or head == 0xDC or head == 0xDD
        if not is_array or (self._items != 4 and (self._responses or self._items != 3)):
            self._refuse(BadRequest("a frame must be an array [0, msgid, method, params] or [2, method, params]"))
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _enter_field(self, data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        """A top-level field of the frame begins: check it and note where it stands. False if more bytes are needed."""
        left: cython.ulonglong = self._remaining[1]
        head: cython.uint = data[pos]
        start: cython.Py_ssize_t = len(self._held) + pos - self._origin
        body: cython.Py_ssize_t
        if self.kind < 0:
            self.kind = head
            if not (head == RESPONSE if self._responses else (head == REQUEST if left == 4 else head == NOTIFICATION)):
                self._refuse(BadRequest("the frame's type must be 0 in an array of 4, or 2 in an array of 3"))
        elif left == 3 and self.kind != NOTIFICATION:
            if head > 0x7F and not 0xCC <= head <= 0xCE:
                self._refuse(BadRequest("msgid must be an unsigned integer of up to 32 bits"))
            if self._payload > end - pos - 1:
                return False
            self.msgid = piece(data, pos, pos + 1 + self._payload)
            self.number = head if head <= 0x7F else big_endian(data, pos + 1, self._payload)
        elif left == 2 and self._responses:
            self.error_start = start
        elif left == 2:
            is_text: cython.bint = 0xA0 <= head <= 0xBF or 0xC4 <= head <= 0xC6 or 0xD9 <= head <= 0xDB
            if is_text and self._payload <= _METHOD_BYTES_MAX:
                if self._payload > end - pos - self._head_bytes:
                    return False
                body = pos + self._head_bytes
                name: bytes = data[body : body + self._payload]
                if name == b"batch" or name == b"mget":
                    self._limit = self._batch_frame_bytes_max
            if is_text:
                self.method_start = start + self._head_bytes
                self.method_end = self.method_start + self._payload
        elif self._responses:
            self.result_start = start
        else:
            self.params_start = start
        return True

    @cython.cfunc
    def _refuse(self, error: WireError) -> None:
        self._dead = True
        self._depth = 0
        self.data = self._chunk = b""
        self._held = bytearray()
        self._pos = self._origin = 0
        raise FramingError(self.msgid or None, error)
