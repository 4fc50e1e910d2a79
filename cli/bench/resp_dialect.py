"""Redis's protocol as the load generator speaks it: SET, GET, MGET and MSET; replies come in the order of requests."""

import cython

from sherd.cli.bench.dialect import GOOD
from sherd.cli.bench.operations import BATCH, GET, MGET, UPDATE
from sherd.common.errors import Internal

if cython.compiled:
    from cython.cimports.sherd.cli.bench.dialect import Dialect
    from cython.cimports.sherd.cli.bench.outgoing import Outgoing
    from cython.cimports.sherd.cli.bench.resp_replies import RespReplies, line_end, line_number, reply_end
    from cython.cimports.sherd.cli.bench.slots import Slots
    from cython.cimports.sherd.cli.bench.values import Values
else:
    from sherd.cli.bench.dialect import Dialect
    from sherd.cli.bench.outgoing import Outgoing
    from sherd.cli.bench.resp_replies import RespReplies, line_end, line_number, reply_end
    from sherd.cli.bench.slots import Slots
    from sherd.cli.bench.values import Values

_GET = cython.declare(cython.int, GET)
_UPDATE = cython.declare(cython.int, UPDATE)
_MGET = cython.declare(cython.int, MGET)
_BATCH = cython.declare(cython.int, BATCH)
_GOOD = cython.declare(cython.int, GOOD)

HEAD_ROOM = 128
"""More than a request takes beside its keys and values."""

_GET_HEAD = cython.declare(bytes, b"*2\r\n$3\r\nGET\r\n")
_SET_HEAD = cython.declare(bytes, b"*3\r\n$3\r\nSET\r\n")
_MGET_HEAD = cython.declare(bytes, b"\r\n$4\r\nMGET\r\n")
_MSET_HEAD = cython.declare(bytes, b"\r\n$4\r\nMSET\r\n")
_KEY_HEAD = cython.declare(bytes, b"$16\r\n")
_END = cython.declare(bytes, b"\r\n")


@cython.final
@cython.cclass
class RespDialect(Dialect):
    """RESP 2."""

    def __init__(self, values: Values) -> None:
        Dialect.__init__(self, values)
        self._replies = RespReplies()

    @cython.cfunc
    def append(self, out: Outgoing, slots: Slots, slot: cython.int) -> None:
        kind: cython.int = slots.kinds[slot]
        at: cython.Py_ssize_t = slot * slots.width
        i: cython.Py_ssize_t
        slots.push_order(slot)
        out.reserve(HEAD_ROOM)
        if kind in (_GET, _UPDATE):
            out.put_bytes(_GET_HEAD)
            self._append_key(out, slots.numbers[at])
        elif kind in (_MGET, _BATCH):
            out.put(42)
            out.put_decimal(1 + slots.width if kind == _MGET else 1 + 2 * slots.width)
            out.put_bytes(_MGET_HEAD if kind == _MGET else _MSET_HEAD)
            for i in range(slots.width):
                out.reserve(HEAD_ROOM)
                self._append_key(out, slots.numbers[at + i])
                if kind == _BATCH:
                    self._append_value(out, slots.numbers[at + i])
        else:
            out.put_bytes(_SET_HEAD)
            self._append_key(out, slots.numbers[at])
            self._append_value(out, slots.numbers[at])

    @cython.cfunc
    def _append_key(self, out: Outgoing, number: cython.ulonglong) -> None:
        out.put_bytes(_KEY_HEAD)
        out.put_digits(number, 16)
        out.put_bytes(_END)

    @cython.cfunc
    def _append_value(self, out: Outgoing, number: cython.ulonglong) -> None:
        size: cython.Py_ssize_t = self.values.draw_size()
        out.reserve(HEAD_ROOM + size)
        out.put(36)
        out.put_decimal(size)
        out.put_bytes(_END)
        self.values.append(out, number, size)
        out.put_bytes(_END)

    @cython.cfunc
    def feed(self, data: bytes) -> None:
        self._replies.feed(data)

    @cython.cfunc
    @cython.exceptval(-1)
    def next(self, slots: Slots) -> cython.int:
        if not self._replies.next():
            return -1
        slot: cython.int = slots.pop_order()
        if slot < 0:
            raise Internal("the server answers a request that was not sent")
        return slot

    @cython.cfunc
    @cython.exceptval(-1)
    def judge(self, slots: Slots, slot: cython.int) -> cython.int:
        data: bytes = self._replies.data
        start: cython.Py_ssize_t = self._replies.start
        end: cython.Py_ssize_t = self._replies.end
        kind: cython.int = slots.kinds[slot]
        i: cython.Py_ssize_t
        at: cython.Py_ssize_t = slot * slots.width
        if data[start] == 45:
            return self.wrong(data[start + 1 : end - 2].decode(errors="replace"))
        if kind in (_GET, _UPDATE):
            if not self._check_value(data, start, end, slots.numbers[at]):
                return self.wrong(f"wrong value of key {slots.numbers[at]:016d}")
        elif kind == _MGET:
            i = line_end(data, start, end)
            if data[start] != 42 or line_number(data, start, i) != slots.width:
                return self.wrong(f"the answer for {slots.width} keys has another length")
            start = i
            for i in range(slots.width):
                end = reply_end(data, start, len(data), 1)
                if not self._check_value(data, start, end, slots.numbers[at + i]):
                    return self.wrong(f"wrong value of key {slots.numbers[at + i]:016d}")
                start = end
            self.keys += slots.width
        else:
            if end - start != 5 or data[start] != 43 or data[start + 1] != 79 or data[start + 2] != 75:
                return self.wrong("the answer to a SET or MSET is not OK")
            if kind == _BATCH:
                self.keys += slots.width
        return cython.cast(cython.int, _GOOD)

    @cython.cfunc
    @cython.exceptval(-1)
    def _check_value(
        self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, number: cython.ulonglong
    ) -> cython.int:
        """Whether the reply is nil, which is counted, or a value that was put under the key."""
        if data[start] != 36:
            return 0
        if data[start + 1] == 45:
            self.missing += 1
            return 1
        return self.values.check(data, line_end(data, start, end), end - 2, number)
