"""Tarantool's protocol, iproto, as the load generator speaks it: REPLACE and SELECT in one space, as the guest.

A row is [key, value]: the key a string of 16 digits, the value of type varbinary or any. The ``sync`` of a request is
its slot, so replies are told apart in whatever order they come. A get is a SELECT with limit 1, a scan one with the
iterator GE and as many rows as it takes: Tarantool answers them in one piece.
"""

import cython

from sherd.cli.bench.dialect import GOOD
from sherd.cli.bench.iproto_replies import DEPTH_MAX
from sherd.cli.bench.operations import GET, SCAN, UPDATE
from sherd.common.errors import Internal

if cython.compiled:
    from cython.cimports.sherd.cli.bench.dialect import Dialect
    from cython.cimports.sherd.cli.bench.iproto_replies import IprotoReplies
    from cython.cimports.sherd.cli.bench.outgoing import Outgoing
    from cython.cimports.sherd.cli.bench.slots import Slots
    from cython.cimports.sherd.cli.bench.values import Values
    from cython.cimports.sherd.common.wire.primitives import item_count, items_start, payload_start, skip
else:
    from sherd.cli.bench.dialect import Dialect
    from sherd.cli.bench.iproto_replies import IprotoReplies
    from sherd.cli.bench.outgoing import Outgoing
    from sherd.cli.bench.slots import Slots
    from sherd.cli.bench.values import Values
    from sherd.common.wire.primitives import item_count, items_start, payload_start, skip

_GET = cython.declare(cython.int, GET)
_UPDATE = cython.declare(cython.int, UPDATE)
_SCAN = cython.declare(cython.int, SCAN)
_GOOD = cython.declare(cython.int, GOOD)

HEAD_ROOM = 128
"""More than a request takes beside its value."""

SELECT, REPLACE = 0x01, 0x03
EQ, GE = 0, 5
ERROR_CODES = 0x8000
DATA, ERROR_TEXT = 0x30, 0x31

_SELECT = cython.declare(cython.uint, SELECT)
_REPLACE = cython.declare(cython.uint, REPLACE)
_EQ = cython.declare(cython.uint, EQ)
_GE = cython.declare(cython.uint, GE)
_DATA = cython.declare(cython.uint, DATA)
_ERROR_TEXT = cython.declare(cython.uint, ERROR_TEXT)
_DEPTH = cython.declare(cython.int, DEPTH_MAX)

# Names in a request are numbers: 0x10 space, 0x11 index, 0x12 limit, 0x13 offset, 0x14 iterator, 0x20 key, 0x21 row.
_SPACE_OF_REPLACE = cython.declare(bytes, b"\x82\x10\xce")
_SPACE_OF_SELECT = cython.declare(bytes, b"\x86\x10\xce")
_INDEX_AND_LIMIT = cython.declare(bytes, b"\x11\x00\x12\xce")
_OFFSET_AND_ITERATOR = cython.declare(bytes, b"\x13\x00\x14")
_KEY_HEAD = cython.declare(bytes, b"\x20\x91\xb0")
_ROW_HEAD = cython.declare(bytes, b"\x21\x92\xb0")
_VALUE_AT = cython.declare(cython.Py_ssize_t, 18)
"""Where in a row its value begins: behind the heads of the array and of the key, and the key."""


@cython.final
@cython.cclass
class IprotoDialect(Dialect):
    """iproto, in the space of the number ``space``, with at most ``depth`` requests in flight."""

    def __init__(self, values: Values, space: int, depth: int) -> None:
        Dialect.__init__(self, values)
        self._replies = IprotoReplies()
        self._space = space
        self._awaited = bytearray(depth)

    @cython.cfunc
    def append(self, out: Outgoing, slots: Slots, slot: cython.int) -> None:
        kind: cython.int = slots.kinds[slot]
        number: cython.ulonglong = slots.numbers[slot * slots.width]
        begun: cython.Py_ssize_t = out.used
        end: cython.Py_ssize_t
        self._awaited[slot] = 1
        out.reserve(HEAD_ROOM)
        out.put(0xCE)
        out.put_big(0, 4)  # the size, known at the end
        out.put(0x82)
        out.put(0x00)
        out.put(_SELECT if kind in (_GET, _UPDATE, _SCAN) else _REPLACE)
        out.put(0x01)
        out.put(0xCE)
        out.put_big(slot, 4)
        if kind in (_GET, _UPDATE):
            self._append_select(out, number, 1, _EQ)
        elif kind == _SCAN:
            self._append_select(out, number, slots.rows_left[slot], _GE)
        else:
            self._append_replace(out, number)
        end = out.used
        out.used = begun + 1
        out.put_big(end - begun - 5, 4)
        out.used = end

    @cython.cfunc
    def _append_select(
        self, out: Outgoing, number: cython.ulonglong, limit: cython.uint, iterator: cython.uint
    ) -> None:
        out.put_bytes(_SPACE_OF_SELECT)
        out.put_big(self._space, 4)
        out.put_bytes(_INDEX_AND_LIMIT)
        out.put_big(limit, 4)
        out.put_bytes(_OFFSET_AND_ITERATOR)
        out.put(iterator)
        out.put_bytes(_KEY_HEAD)
        out.put_digits(number, 16)

    @cython.cfunc
    def _append_replace(self, out: Outgoing, number: cython.ulonglong) -> None:
        size: cython.Py_ssize_t = self.values.draw_size()
        out.reserve(HEAD_ROOM + size)
        out.put_bytes(_SPACE_OF_REPLACE)
        out.put_big(self._space, 4)
        out.put_bytes(_ROW_HEAD)
        out.put_digits(number, 16)
        out.put_bin_head(size)
        self.values.append(out, number, size)

    @cython.cfunc
    def feed(self, data: bytes) -> None:
        self._replies.feed(data)

    @cython.cfunc
    @cython.exceptval(-1)
    def next(self, slots: Slots) -> cython.int:
        if not self._replies.next():
            return -1
        sync: cython.longlong = self._replies.sync
        if sync < 0 or sync >= slots.depth or not self._awaited[sync]:
            raise Internal(f"the server answers a request with sync {sync}, which was not sent")
        self._awaited[sync] = 0
        return cython.cast(cython.int, sync)

    @cython.cfunc
    @cython.exceptval(-1)
    def judge(self, slots: Slots, slot: cython.int) -> cython.int:
        kind: cython.int = slots.kinds[slot]
        if self._replies.code != 0:
            return self.wrong(self._error_text())
        at: cython.Py_ssize_t = self._replies.find(_DATA)
        if at < 0 or item_count(self._replies.data, at, self._replies.end) < 0:
            return self.wrong("the answer has no rows, not even none")
        if kind == _SCAN:
            return self._judge_rows(at, slots, slot)
        return self._judge_one(at, slots.numbers[slot * slots.width], kind in (_GET, _UPDATE))

    @cython.cfunc
    @cython.exceptval(-1)
    def _judge_one(self, at: cython.Py_ssize_t, number: cython.ulonglong, may_miss: cython.int) -> cython.int:
        """The answer to a get is its row, or none, which is counted; that to a put is the row that was put."""
        data: bytes = self._replies.data
        end: cython.Py_ssize_t = self._replies.end
        rows: cython.Py_ssize_t = item_count(data, at, end)
        stop: cython.Py_ssize_t
        if rows == 0 and may_miss:
            self.missing += 1
            return cython.cast(cython.int, _GOOD)
        if rows != 1:
            return self.wrong(f"the answer has {rows} rows for one key")
        at = items_start(data, at, end)
        stop = skip(data, at, end, _DEPTH)
        if self._row_number(at, stop) != cython.cast(cython.longlong, number):
            return self.wrong(f"the answer for key {number:016d} is another key's")
        if not self._check_value(at + _VALUE_AT, stop, number):
            return self.wrong(f"wrong value of key {number:016d}")
        return cython.cast(cython.int, _GOOD)

    @cython.cfunc
    @cython.exceptval(-1)
    def _judge_rows(self, at: cython.Py_ssize_t, slots: Slots, slot: cython.int) -> cython.int:
        """The rows' keys ascend from where the scan began, and are not too many."""
        data: bytes = self._replies.data
        end: cython.Py_ssize_t = self._replies.end
        rows: cython.Py_ssize_t = item_count(data, at, end)
        stop: cython.Py_ssize_t
        number: cython.longlong
        least: cython.longlong = slots.numbers[slot * slots.width]
        if rows > slots.rows_left[slot]:
            return self.wrong(f"a scan has {rows} rows, at most {slots.rows_left[slot]} were asked for")
        at = items_start(data, at, end)
        for _i in range(rows):
            stop = skip(data, at, end, _DEPTH)
            number = self._row_number(at, stop)
            if number < least:
                return self.wrong("a scan's row is out of order, or its key is none of these keys")
            if not self._check_value(at + _VALUE_AT, stop, number):
                return self.wrong(f"wrong value of key {number:016d} in a scan")
            least = number + 1
            at = stop
        self.rows += rows
        return cython.cast(cython.int, _GOOD)

    @cython.cfunc
    @cython.exceptval(-1)
    def _row_number(self, at: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.longlong:
        """The number that the key of the row between ``at`` and ``stop`` says, or -1."""
        data: bytes = self._replies.data
        if stop - at <= _VALUE_AT or data[at] != 0x92 or data[at + 1] != 0xB0:
            return -1
        return self.key_number(data, at + 2)

    @cython.cfunc
    @cython.exceptval(-1)
    def _check_value(self, at: cython.Py_ssize_t, stop: cython.Py_ssize_t, number: cython.ulonglong) -> cython.int:
        """Whether the value between ``at`` and ``stop`` is one that was put under the key."""
        data: bytes = self._replies.data
        if data[at] < 0xC4 or data[at] > 0xC6:
            return 0
        return self.values.check(data, payload_start(data, at, stop), stop, number)

    @cython.cfunc
    def _error_text(self) -> str:
        """What the server says of its error, and the error's number."""
        code: cython.longlong = self._replies.code
        data: bytes = self._replies.data
        end: cython.Py_ssize_t = self._replies.end
        at: cython.Py_ssize_t = self._replies.find(_ERROR_TEXT)
        start: cython.Py_ssize_t = payload_start(data, at, end)
        if code < ERROR_CODES or start < 0:
            return f"an answer with the code {code}"
        return f"{data[start : skip(data, at, end, _DEPTH)].decode(errors='replace')} (error {code - ERROR_CODES})"
