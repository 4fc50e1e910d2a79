"""Reads the params of the data methods: checks shape, types and limits, finds keys and values and decodes neither.

One reader serves a whole connection: its fields hold the last request read. The proxy checks with it before it
forwards, the shard before it executes, so both refuse the same requests in the same words. Params are taken from a
frame that the scanner has passed, so every value in ``data[params:end]`` is whole.
"""

import math

import cython
import msgpack

from sherd.common.errors import BadRequest, TooLarge
from sherd.common.limits import FRAME_DEPTH_MAX, KEY_BYTES_MAX, KEYS_PER_REQUEST_MAX, VALUE_NESTING_MAX, Limits

if cython.compiled:
    from cython.cimports.sherd.common.wire.primitives import (
        item_count,
        items_start,
        pair_count,
        pairs_start,
        payload_start,
        piece,
        skip,
    )
else:
    from sherd.common.wire.primitives import (
        item_count,
        items_start,
        pair_count,
        pairs_start,
        payload_start,
        piece,
        skip,
    )

TTL_SECONDS_MAX = 3.2e9  # a hundred years
DEADLINE_MS_MAX = SHARD_MAX = 2**31 - 1

DEADLINE, META, SYNC, TTL, IF_VERSION, RETURN, ACKS, STALE, AT = 1, 2, 4, 8, 16, 32, 64, 128, 256
GET_OPTIONS = DEADLINE | META | STALE | AT
BATCH_OPTIONS = DEADLINE | META | SYNC | ACKS
PUT_OPTIONS = BATCH_OPTIONS | TTL | IF_VERSION
DELETE_OPTIONS = BATCH_OPTIONS | IF_VERSION | RETURN
PUT_OPERATION_OPTIONS = TTL | IF_VERSION
DELETE_OPERATION_OPTIONS = IF_VERSION

_OPTION_BITS: dict[bytes, int] = {
    b"deadline_ms": DEADLINE,
    b"meta": META,
    b"sync": SYNC,
    b"ttl": TTL,
    b"if_version": IF_VERSION,
    b"return": RETURN,
    b"acks": ACKS,
    b"stale_ms": STALE,
    b"at": AT,
}
_ACKS: dict[bytes, bool] = {b"leader": False, b"insync": True}


def ttl_to_ms(ttl: object) -> int:
    """A TTL in seconds (float or int, over 0 and finite) as whole milliseconds, rounded up."""
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise BadRequest("ttl must be a number of seconds")
    if not 0 < ttl <= TTL_SECONDS_MAX:
        raise BadRequest(f"ttl must be over 0 and at most {TTL_SECONDS_MAX:.0f} seconds, not {ttl}")
    return math.ceil(ttl * 1000)


def check_at(found: object) -> tuple[int, int, int]:
    """A decoded ``at``, ``[shard, term, LSN]``: what a write told of where it is in its shard's log."""
    match found:
        case [int(shard), int(term), int(lsn)] if 0 < shard <= SHARD_MAX and term >= 0 and lsn >= 0:
            if not any(isinstance(number, bool) for number in found):
                return shard, term, lsn
    raise BadRequest("at must be [shard, term, LSN], as a write with meta answered it")


def check_stale_ms(found: object) -> int:
    """A decoded ``stale_ms``."""
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= DEADLINE_MS_MAX:
        raise BadRequest(f"stale_ms must be an integer from 1 to {DEADLINE_MS_MAX}")
    return found


@cython.cfunc
def _holds_integers(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """Whether the value at ``pos`` is a small array of integers, which can be decoded whatever they are."""
    count: cython.Py_ssize_t = item_count(data, pos, end)
    if count < 0 or count > 8:
        return False
    pos = items_start(data, pos, end)
    head: cython.uint
    _i: cython.Py_ssize_t
    for _i in range(count):
        head = data[pos]
        if not (head <= 0x7F or head >= 0xE0 or 0xCC <= head <= 0xD3):
            return False
        pos = skip(data, pos, end, 0)
    return True


@cython.final
@cython.freelist(256)
@cython.cclass
class BatchOperation:
    """One operation of a batch: ``data[start:end]`` is its MessagePack, ``value_start`` is -1 in a delete."""

    def __init__(self) -> None:
        self.is_put = False
        self.key = b""
        self.start = self.end = 0
        self.value_start = self.value_end = -1
        self.ttl_ms = 0
        self.if_version: int | None = None


@cython.final
@cython.cclass
class RequestReader:
    """Reads one request at a time. Fields not named by the request hold their defaults.

    ``key`` is its bytes; ``data[value_start:value_end]`` the encoded value; ``deadline_ms`` and ``ttl_ms`` are 0 when
    absent; ``if_version`` is None when absent; ``options_start`` is -1 when there are no options. ``insync`` says that
    ``acks`` is; ``stale_ms`` and ``at_shard`` are 0 when absent, and then ``at_term`` and ``at_lsn`` mean nothing.
    Every method raises BadRequest or TooLarge and names the field.
    """

    def __init__(self, limits: Limits) -> None:
        self._value_bytes_max = limits.value_bytes_max
        self.at_term = self.at_lsn = 0
        self.if_version: int | None = None
        self._clear()

    @cython.cfunc
    def _clear(self) -> None:
        self.key = b""
        self.value_start = self.value_end = self.options_start = self.options_end = -1
        self.deadline_ms = self.ttl_ms = self.stale_ms = self.at_shard = 0
        self.meta = self.sync = self.return_old = self.insync = False
        self.if_version = None

    @cython.ccall
    def read_get(self, data: bytes, params: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        """``[key]`` or ``[key, options]``."""
        pos: cython.Py_ssize_t = self._open_params(data, params, end, 1, 2)
        pos = self._take_key(data, pos, end)
        if pos < end:
            self._take_options(data, pos, end, GET_OPTIONS)

    @cython.ccall
    def read_put(self, data: bytes, params: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        """``[key, value]`` or ``[key, value, options]``."""
        pos: cython.Py_ssize_t = self._open_params(data, params, end, 2, 3)
        pos = self._take_key(data, pos, end)
        pos = self._take_value(data, pos, end)
        if pos < end:
            self._take_options(data, pos, end, PUT_OPTIONS)

    @cython.ccall
    def read_delete(self, data: bytes, params: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        """``[key]`` or ``[key, options]``."""
        pos: cython.Py_ssize_t = self._open_params(data, params, end, 1, 2)
        pos = self._take_key(data, pos, end)
        if pos < end:
            self._take_options(data, pos, end, DELETE_OPTIONS)

    @cython.ccall
    def read_mget(self, data: bytes, params: cython.Py_ssize_t, end: cython.Py_ssize_t) -> list:  # type: ignore[type-arg]
        """``[[key ...]]`` or ``[[key ...], options]``: the keys, list of bytes in the order asked."""
        pos: cython.Py_ssize_t = self._open_params(data, params, end, 1, 2)
        count: cython.Py_ssize_t = item_count(data, pos, end)
        if count < 0:
            raise BadRequest("keys must be an array")
        if count > KEYS_PER_REQUEST_MAX:
            raise TooLarge(f"{count} keys are over the limit of {KEYS_PER_REQUEST_MAX} in one mget")
        pos = items_start(data, pos, end)
        keys: list[bytes] = []
        _i: cython.Py_ssize_t
        for _i in range(count):
            pos = self._take_key(data, pos, end)
            keys.append(self.key)
        if pos < end:
            self._take_options(data, pos, end, GET_OPTIONS)
        return keys

    @cython.ccall
    def read_batch(self, data: bytes, params: cython.Py_ssize_t, end: cython.Py_ssize_t) -> list:  # type: ignore[type-arg]
        """``[[operation ...]]`` or ``[[operation ...], options]``: list of BatchOperation."""
        pos: cython.Py_ssize_t = self._open_params(data, params, end, 1, 2)
        count: cython.Py_ssize_t = item_count(data, pos, end)
        if count < 0:
            raise BadRequest("operations must be an array")
        if count > KEYS_PER_REQUEST_MAX:
            raise TooLarge(f"{count} operations are over the limit of {KEYS_PER_REQUEST_MAX} in one batch")
        pos = items_start(data, pos, end)
        operations: list[BatchOperation] = []
        _i: cython.Py_ssize_t
        for _i in range(count):
            pos = self._take_operation(data, pos, end, operations)
        self.ttl_ms = 0
        self.if_version = None
        self.options_start = self.options_end = -1
        if pos < end:
            self._take_options(data, pos, end, BATCH_OPTIONS)
        return operations

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _take_operation(
        self,
        data: bytes,
        pos: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        operations: list,  # type: ignore[type-arg]
    ) -> cython.Py_ssize_t:
        count: cython.Py_ssize_t = item_count(data, pos, end)
        first: cython.Py_ssize_t = items_start(data, pos, end)
        stop: cython.Py_ssize_t = skip(data, pos, end, VALUE_NESTING_MAX + 1)
        if count < 1 or stop < 0:
            if count >= 1:
                raise TooLarge(f"operation {len(operations)}: value nests deeper than the limit of {VALUE_NESTING_MAX}")
            raise BadRequest(f'operation {len(operations)} must be ["put", key, value] or ["delete", key]')
        name_start: cython.Py_ssize_t = payload_start(data, first, stop)
        name_end: cython.Py_ssize_t = skip(data, first, stop, 0)
        name: bytes = data[name_start:name_end] if name_start >= 0 else b""
        operation = BatchOperation()
        operation.start = pos
        operation.end = stop
        operation.is_put = name == b"put"
        if not operation.is_put and name != b"delete":
            raise BadRequest(f"operation {len(operations)} must be a put or a delete")
        fixed: cython.Py_ssize_t = 3 if operation.is_put else 2
        if count < fixed or count > fixed + 1:
            raise BadRequest(f"operation {len(operations)}: a {name.decode()} takes {fixed - 1} arguments, and options")
        self.ttl_ms = 0
        self.if_version = None
        try:
            pos = self._take_key(data, name_end, stop)
            if operation.is_put:
                operation.value_start = pos
                operation.value_end = pos = self._take_value(data, pos, stop)
            if pos < stop:
                self._take_options(
                    data, pos, stop, PUT_OPERATION_OPTIONS if operation.is_put else DELETE_OPERATION_OPTIONS
                )
        except (BadRequest, TooLarge) as error:
            raise type(error)(f"operation {len(operations)}: {error.message}") from None
        operation.key = self.key
        operation.ttl_ms = self.ttl_ms
        operation.if_version = self.if_version
        operations.append(operation)
        return stop

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _open_params(
        self,
        data: bytes,
        params: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        least: cython.Py_ssize_t,
        most: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        self._clear()
        count: cython.Py_ssize_t = item_count(data, params, end)
        if count < 0:
            raise BadRequest("params must be an array")
        if count < least or count > most:
            raise BadRequest(f"params must be an array of {least} to {most} items, not {count}")
        return items_start(data, params, end)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _take_key(self, data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        start: cython.Py_ssize_t = payload_start(data, pos, end)
        stop: cython.Py_ssize_t = skip(data, pos, end, 0)
        if start < 0 or stop < start:
            raise BadRequest("key must be str or bin")
        if stop == start:
            raise BadRequest("key must not be empty")
        if stop - start > KEY_BYTES_MAX:
            raise TooLarge(f"key of {stop - start} bytes is over the limit of {KEY_BYTES_MAX}")
        self.key = piece(data, start, stop)
        return stop

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _take_value(self, data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        stop: cython.Py_ssize_t = skip(data, pos, end, VALUE_NESTING_MAX)
        if stop < 0:
            raise TooLarge(f"value nests deeper than the limit of {VALUE_NESTING_MAX}")
        if data[pos] == 0xC0:
            raise BadRequest("value must not be nil; delete the key instead")
        if stop - pos > self._value_bytes_max:
            raise TooLarge(f"value of {stop - pos} bytes is over the limit of {self._value_bytes_max}")
        self.value_start = pos
        self.value_end = stop
        return stop

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _take_options(
        self, data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, allowed: cython.int
    ) -> cython.Py_ssize_t:
        if data[pos] == 0xC0:
            return pos + 1
        count: cython.Py_ssize_t = pair_count(data, pos, end)
        if count < 0:
            raise BadRequest("options must be a map or nil")
        self.options_start = pos
        pos = pairs_start(data, pos, end)
        seen: cython.int = 0
        bit: cython.int
        _i: cython.Py_ssize_t
        for _i in range(count):
            start: cython.Py_ssize_t = payload_start(data, pos, end)
            pos = skip(data, pos, end, 0)
            if start < 0 or pos < start:
                raise BadRequest("an option's name must be str or bin")
            name: bytes = data[start:pos]
            bit = _OPTION_BITS.get(name, 0)
            if not bit & allowed:
                raise BadRequest(f"unknown option {name[:64].decode(errors='replace')!r}")
            if bit & seen:
                raise BadRequest(f"option {name.decode()!r} is given twice")
            seen |= bit
            pos = self._take_option(data, name, pos, end)
        self.options_end = pos
        return pos

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _take_option(
        self, data: bytes, name: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        stop: cython.Py_ssize_t = skip(data, pos, end, FRAME_DEPTH_MAX)
        if stop < 0:
            raise BadRequest(f"option {name.decode()!r} has no value")
        head: cython.uint = data[pos]
        value: object = None  # for whatever is neither a number nor a bool
        if head <= 0x7F or head >= 0xE0 or 0xCA <= head <= 0xD3 or head == 0xC2 or head == 0xC3:
            value = msgpack.unpackb(data[pos:stop])
        if name == b"ttl":
            self.ttl_ms = ttl_to_ms(value)
        elif name == b"if_version":
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BadRequest("if_version must be an unsigned integer")
            self.if_version = value
        elif name == b"deadline_ms":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= DEADLINE_MS_MAX:
                raise BadRequest(f"deadline_ms must be an integer from 1 to {DEADLINE_MS_MAX}")
            self.deadline_ms = value
        elif name == b"stale_ms":
            self.stale_ms = check_stale_ms(value)
        elif name == b"at":
            place = check_at(msgpack.unpackb(data[pos:stop]) if _holds_integers(data, pos, stop) else None)
            self.at_shard, self.at_term, self.at_lsn = place
        elif name == b"acks":
            start: cython.Py_ssize_t = payload_start(data, pos, stop)
            level = _ACKS.get(data[start:stop]) if start >= 0 else None
            if level is None:
                raise BadRequest('acks must be "leader" or "insync"')
            self.insync = level
        else:
            if not isinstance(value, bool):
                raise BadRequest(f"{name.decode()} must be true or false")
            if name == b"meta":
                self.meta = value
            elif name == b"sync":
                self.sync = value
            else:
                self.return_old = value
        return stop
