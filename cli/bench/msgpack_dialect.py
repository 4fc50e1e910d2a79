"""Sherd's protocol, MessagePack-RPC, as the load generator speaks it: the msgid of a request is its slot."""

import cython
import msgpack

from sherd.cli.bench.dialect import GOOD, MORE
from sherd.cli.bench.operations import BATCH, GET, MGET, SCAN, UPDATE
from sherd.common.errors import Internal
from sherd.common.limits import FRAME_DEPTH_MAX, PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX, Limits

if cython.compiled:
    from cython.cimports.sherd.cli.bench.dialect import Dialect
    from cython.cimports.sherd.cli.bench.outgoing import Outgoing
    from cython.cimports.sherd.cli.bench.slots import Slots
    from cython.cimports.sherd.cli.bench.values import Values
    from cython.cimports.sherd.common.wire.primitives import item_count, items_start, payload_start, skip
    from cython.cimports.sherd.common.wire.scanner import Scanner
else:
    from sherd.cli.bench.dialect import Dialect
    from sherd.cli.bench.outgoing import Outgoing
    from sherd.cli.bench.slots import Slots
    from sherd.cli.bench.values import Values
    from sherd.common.wire.primitives import item_count, items_start, payload_start, skip
    from sherd.common.wire.scanner import Scanner

_GET = cython.declare(cython.int, GET)
_UPDATE = cython.declare(cython.int, UPDATE)
_MGET = cython.declare(cython.int, MGET)
_BATCH = cython.declare(cython.int, BATCH)
_SCAN = cython.declare(cython.int, SCAN)
_GOOD = cython.declare(cython.int, GOOD)
_MORE = cython.declare(cython.int, MORE)
_DEPTH = cython.declare(cython.int, FRAME_DEPTH_MAX)
_PAGE_BYTES = cython.declare(cython.Py_ssize_t, PAGE_BYTES_DEFAULT)
_PAGE_BYTES_MAX = cython.declare(cython.Py_ssize_t, PAGE_BYTES_MAX)

NIL = 0xC0
HEAD_ROOM = 256
"""More than a request takes beside its keys and values."""

ROW_ROOM = 32
"""More than a row of a page takes beside its value."""

_KEY_HEAD = cython.declare(bytes, b"\xc4\x10")
_GET_HEAD = cython.declare(bytes, b"\xa3get\x91\xc4\x10")
_PUT_HEAD = cython.declare(bytes, b"\xa3put\x92\xc4\x10")
_MGET_HEAD = cython.declare(bytes, b"\xa4mget\x91\xdd")
_BATCH_HEAD = cython.declare(bytes, b"\xa5batch\x91\xdd")
_OPERATION_HEAD = cython.declare(bytes, b"\x93\xa3put\xc4\x10")
_SCAN_HEAD = cython.declare(bytes, b"\xa4scan\x93")
_LIMIT_NAME = cython.declare(bytes, b"\xa5limit\xce")
_MAX_BYTES_NAME = cython.declare(bytes, b"\xa9max_bytes\xce")
_CURSOR_NAME = cython.declare(bytes, b"\xa6cursor\xc5")


@cython.final
@cython.cclass
class MsgpackDialect(Dialect):
    """MessagePack-RPC."""

    def __init__(self, values: Values) -> None:
        Dialect.__init__(self, values)
        self._scanner = Scanner(Limits(), True)
        self._row_bytes = values.sizes.high + ROW_ROOM

    @cython.cfunc
    def append(self, out: Outgoing, slots: Slots, slot: cython.int) -> None:
        kind: cython.int = slots.kinds[slot]
        at: cython.Py_ssize_t = slot * slots.width
        i: cython.Py_ssize_t
        out.reserve(HEAD_ROOM)
        out.put(0x94)
        out.put(0)
        if slot <= 0x7F:
            out.put(slot)
        else:
            out.put(0xCE)
            out.put_big(slot, 4)
        if kind in (_GET, _UPDATE):
            out.put_bytes(_GET_HEAD)
            out.put_digits(slots.numbers[at], 16)
        elif kind == _SCAN:
            self._append_scan(out, slots, slot)
        elif kind == _MGET:
            out.reserve(HEAD_ROOM + 18 * slots.width)
            out.put_bytes(_MGET_HEAD)
            out.put_big(slots.width, 4)
            for i in range(slots.width):
                out.put_bytes(_KEY_HEAD)
                out.put_digits(slots.numbers[at + i], 16)
        elif kind == _BATCH:
            out.put_bytes(_BATCH_HEAD)
            out.put_big(slots.width, 4)
            for i in range(slots.width):
                self._append_put(out, _OPERATION_HEAD, slots.numbers[at + i])
        else:
            self._append_put(out, _PUT_HEAD, slots.numbers[at])

    @cython.cfunc
    def _append_put(self, out: Outgoing, head: bytes, number: cython.ulonglong) -> None:
        size: cython.Py_ssize_t = self.values.draw_size()
        out.reserve(HEAD_ROOM + size)
        out.put_bytes(head)
        out.put_digits(number, 16)
        out.put_bin_head(size)
        self.values.append(out, number, size)

    @cython.cfunc
    def _append_scan(self, out: Outgoing, slots: Slots, slot: cython.int) -> None:
        cursor: bytes | None = slots.cursors.pop(slot, None)
        out.put_bytes(_SCAN_HEAD)
        if cursor is None:
            out.put_bytes(_KEY_HEAD)
            out.put_digits(slots.numbers[slot * slots.width], 16)
        else:
            out.reserve(HEAD_ROOM + len(cursor))
            out.put(NIL)
        out.put(NIL)
        out.put(0x82 if cursor is None else 0x83)
        out.put_bytes(_LIMIT_NAME)
        out.put_big(slots.rows_left[slot], 4)
        out.put_bytes(_MAX_BYTES_NAME)
        out.put_big(min(max(slots.rows_left[slot] * self._row_bytes, _PAGE_BYTES), _PAGE_BYTES_MAX), 4)
        if cursor is not None:
            out.put_bytes(_CURSOR_NAME)
            out.put_big(len(cursor), 2)
            out.put_bytes(cursor)

    @cython.cfunc
    def feed(self, data: bytes) -> None:
        self._scanner.feed(data)

    @cython.cfunc
    @cython.exceptval(-1)
    def next(self, slots: Slots) -> cython.int:
        if not self._scanner.next():
            return -1
        if self._scanner.number >= cython.cast(cython.uint, slots.depth):
            raise Internal(f"the server answers a request with msgid {self._scanner.number}, which was not sent")
        return cython.cast(cython.int, self._scanner.number)

    @cython.cfunc
    @cython.exceptval(-1)
    def judge(self, slots: Slots, slot: cython.int) -> cython.int:
        data: bytes = self._scanner.data
        at: cython.Py_ssize_t = self._scanner.result_start
        kind: cython.int = slots.kinds[slot]
        if data[self._scanner.error_start] != NIL:
            error = msgpack.unpackb(data[self._scanner.error_start : at], strict_map_key=False)
            return self.wrong(str(error[1]) if isinstance(error, list) and len(error) > 1 else str(error))
        if kind in (_GET, _UPDATE):
            if not self._check_value(data, at, self._scanner.frame_end, slots.numbers[slot * slots.width]):
                return self.wrong(f"wrong value of key {slots.numbers[slot * slots.width]:016d}")
            return cython.cast(cython.int, _GOOD)
        if kind == _SCAN:
            return self._judge_page(data, at, slots, slot)
        if kind in (_MGET, _BATCH):
            return self._judge_items(data, at, slots, slot)
        if data[at] > 0x7F and not 0xCC <= data[at] <= 0xCF:
            return self.wrong("the answer to a put is no version")
        return cython.cast(cython.int, _GOOD)

    @cython.cfunc
    @cython.exceptval(-1)
    def _check_value(
        self, data: bytes, at: cython.Py_ssize_t, end: cython.Py_ssize_t, number: cython.ulonglong
    ) -> cython.int:
        """Whether the value between ``at`` and ``end`` is nil, which is counted, or one that was put under the key."""
        if data[at] == NIL:
            self.missing += 1
            return 1
        if data[at] < 0xC4 or data[at] > 0xC6:
            return 0
        return self.values.check(data, payload_start(data, at, end), end, number)

    @cython.cfunc
    @cython.exceptval(-1)
    def _judge_items(self, data: bytes, at: cython.Py_ssize_t, slots: Slots, slot: cython.int) -> cython.int:
        end: cython.Py_ssize_t = self._scanner.frame_end
        stop: cython.Py_ssize_t
        i: cython.Py_ssize_t
        first: cython.Py_ssize_t = slot * slots.width
        if item_count(data, at, end) != slots.width:
            return self.wrong(f"the answer for {slots.width} keys has another length")
        at = items_start(data, at, end)
        for i in range(slots.width):
            stop = skip(data, at, end, _DEPTH)
            if slots.kinds[slot] == _MGET:
                if not self._check_value(data, at, stop, slots.numbers[first + i]):
                    return self.wrong(f"wrong value of key {slots.numbers[first + i]:016d}")
            elif data[at] > 0x7F and not 0xCC <= data[at] <= 0xCF:
                return self.wrong("the answer to a put of a batch is no version")
            at = stop
        self.keys += slots.width
        return cython.cast(cython.int, _GOOD)

    @cython.cfunc
    @cython.exceptval(-1)
    def _judge_page(self, data: bytes, at: cython.Py_ssize_t, slots: Slots, slot: cython.int) -> cython.int:
        """A page is [rows, cursor or nil]: the rows' keys ascend from where the scan is, and are not too many."""
        end: cython.Py_ssize_t = self._scanner.frame_end
        rows: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        number: cython.longlong
        least: cython.longlong = slots.numbers[slot * slots.width]
        if item_count(data, at, end) != 2:
            return self.wrong("a page of a scan is no array of two")
        at += 1
        rows = item_count(data, at, end)
        if rows < 0 or rows > slots.rows_left[slot]:
            return self.wrong(f"a page has {rows} rows, at most {slots.rows_left[slot]} were asked for")
        at = items_start(data, at, end)
        for _i in range(rows):
            stop = skip(data, at, end, _DEPTH)
            number = self._row_number(data, at, stop)
            if number < least:
                return self.wrong("a scan's row is out of order, or its key is none of these keys")
            if not self._check_value(data, at + 19, stop, number):
                return self.wrong(f"wrong value of key {number:016d} in a scan")
            least = number + 1
            at = stop
        self.rows += rows
        slots.rows_left[slot] -= cython.cast(cython.int, rows)
        slots.numbers[slot * slots.width] = least
        if data[at] == NIL or slots.rows_left[slot] == 0:
            return cython.cast(cython.int, _GOOD)
        slots.cursors[slot] = data[payload_start(data, at, end) : end]
        return cython.cast(cython.int, _MORE)

    @cython.cfunc
    @cython.exceptval(-1)
    def _row_number(self, data: bytes, at: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.longlong:
        """The number that the key of the row [key, value] at ``at`` says, or -1."""
        if stop - at < 20 or data[at] != 0x92 or data[at + 1] != 0xC4 or data[at + 2] != 16:
            return -1
        return self.key_number(data, at + 3)
