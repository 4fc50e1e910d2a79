"""Arguments and results of a Store as the engine has them: keys as bytes, values as the MessagePack they are stored in.

What is accepted and how it comes back is the same as for the clients (``common/codec.py``), limit for limit.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import cython
import msgpack

from sherd.common.codec import Codec, Encoder, Key
from sherd.common.errors import BadRequest, TooLarge
from sherd.common.limits import KEY_BYTES_MAX, KEYS_PER_REQUEST_MAX, VALUE_NESTING_MAX, Limits
from sherd.shard.lsm.batch import ANY_VERSION
from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT

BatchOp = Sequence[Any]
"""``("put", key, value[, {"ttl": seconds, "if_version": n}])`` or ``("delete", key[, {"if_version": n}])``."""

_KEY_BYTES_MAX = cython.declare(cython.Py_ssize_t, KEY_BYTES_MAX)
_BIN8 = cython.declare(cython.uchar, 0xC4)
_BIN8_BYTES_MAX = cython.declare(cython.Py_ssize_t, 255)
_BIN8_HEADS = cython.declare(tuple, tuple(bytes((0xC4, size)) for size in range(256)))

_VERSION_MAX: Final = 2**64 - 1
_OPTIONS: Final = {"put": ("ttl", "if_version"), "delete": ("if_version",)}
_UNPACK: Final[dict[str, Any]] = {"raw": False, "strict_map_key": False, "unicode_errors": "surrogateescape"}


def prefix_end(prefix: bytes) -> bytes | None:
    """The first key after all that start with ``prefix``; None if there is none (only 0xff bytes)."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,)) if head else None


def _nesting(value: Any, room: int) -> bool:
    """Whether containers nest no deeper than ``room``."""
    if isinstance(value, Mapping):
        return room > 0 and all(_nesting(key, room - 1) and _nesting(item, room - 1) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return room > 0 and all(_nesting(item, room - 1) for item in value)
    return True


@cython.cclass
class StoreCodec:
    """Not for several threads at once. Bytes, as keys and as values, go a short way."""

    def __init__(self, key_encoding: str | None, encoder: Encoder | None, limits: Limits) -> None:
        self._codec = Codec(key_encoding, encoder)
        self._packer = msgpack.Packer(unicode_errors="surrogateescape")
        self._value_bytes_max = limits.value_bytes_max
        self._keys_are_bytes = key_encoding is None
        self._values_are_plain = encoder is None

    @cython.ccall
    def key(self, key: Any) -> bytes:
        """BadRequest, TooLarge or TypeError for what is no key."""
        if type(key) is bytes:
            data: bytes = key
            if 0 < len(data) <= _KEY_BYTES_MAX:
                return data
        return self._codec.key(key)

    def read_key(self, key: bytes) -> Any:
        return self._codec.read_key(key)

    def keys(self, keys: Any) -> list[bytes]:
        """Several keys; TooLarge over 100,000."""
        if isinstance(keys, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"keys is a sequence of keys, not one {type(keys).__name__}")
        found = [self.key(key) for key in keys]
        _check_count("mget", len(found), "keys")
        return found

    @cython.ccall
    def value(self, value: Any) -> bytes:
        """The value as MessagePack. BadRequest for None or what nests too deep, TooLarge, TypeError for other types."""
        if self._values_are_plain and type(value) is bytes:
            plain: bytes = value
            if len(plain) <= _BIN8_BYTES_MAX and len(plain) + 2 <= self._value_bytes_max:
                head: bytes = _BIN8_HEADS[len(plain)]
                return head + plain
        return self._packed(self._codec.value(value))

    @cython.cfunc
    def _packed(self, value: object) -> bytes:
        data: bytes
        try:
            data = self._packer.pack(value)
        except (ValueError, OverflowError) as error:
            self._packer.reset()
            raise BadRequest(f"value has no MessagePack form: {error}") from error
        if len(data) > self._value_bytes_max:
            raise TooLarge(f"value of {len(data)} bytes is over the limit of {self._value_bytes_max} bytes")
        if isinstance(value, (list, tuple, Mapping)) and not _nesting(value, VALUE_NESTING_MAX):
            raise BadRequest(f"value nests deeper than {VALUE_NESTING_MAX}")
        return data

    @cython.ccall
    def read_value(self, data: bytes) -> object:
        """A stored value as the caller gets it."""
        size: cython.Py_ssize_t = len(data)
        if self._values_are_plain and size >= 2 and data[0] == _BIN8 and data[1] == size - 2:
            return data[2:]
        return self._codec.read_value(msgpack.unpackb(data, **_UNPACK))

    def read_keys(self, keys: list[bytes]) -> Iterable[Any]:
        """The keys of a page."""
        return keys if self._keys_are_bytes else map(self._codec.read_key, keys)

    def read_values(self, values: bytes) -> Iterable[Any]:
        """The values of a page, which come as one array.

        If there is one among them that Python has no object for, those before it are still to be had.
        """
        try:
            found: list[Any] = msgpack.unpackb(values, **_UNPACK)
        except (ValueError, TypeError):
            return self._read_one_by_one(values)
        return found if self._values_are_plain else map(self._codec.read_value, found)

    def _read_one_by_one(self, values: bytes) -> Iterator[Any]:
        unpacker = msgpack.Unpacker(max_buffer_size=len(values), **_UNPACK)
        unpacker.feed(values)
        for _ in range(unpacker.read_array_header()):
            yield self._codec.read_value(unpacker.unpack())

    def bounds(self, start: Key | None, end: Key | None, prefix: Key | None) -> tuple[bytes | None, bytes | None]:
        """The range that is within all three; None is open."""
        low, high, within = self._codec.bound(start), self._codec.bound(end), self._codec.bound(prefix)
        if within is not None:
            after = prefix_end(within)
            low = within if low is None else max(low, within)
            high = after if high is None else high if after is None else min(high, after)
        return low, high

    def batch(self, ops: Any, now_ms: int) -> list[tuple[int, bytes, bytes | None, int, int]]:
        """The engine's form of a batch's operations."""
        found: list = []  # type: ignore[type-arg]
        for op in ops:
            if type(op) is tuple and len(op) == 3 and op[0] == "put":
                found.append((KIND_PUT, self.key(op[1]), self.value(op[2]), 0, ANY_VERSION))
            else:
                found.append(self._batch_op(len(found), op, now_ms))
        _check_count("batch", len(found), "operations")
        return found

    def _batch_op(self, position: int, op: Any, now_ms: int) -> tuple[int, bytes, bytes | None, int, int]:
        if isinstance(op, (str, bytes)) or not isinstance(op, Sequence) or not op:
            raise TypeError(f"operation {position} of the batch is not a sequence that starts with 'put' or 'delete'")
        name, *rest = op
        if name not in _OPTIONS:
            raise BadRequest(f"operation {position} of the batch is {name!r}, not 'put' or 'delete'")
        plain = 2 if name == "put" else 1
        if not plain <= len(rest) <= plain + 1:
            raise BadRequest(f"operation {position} of the batch has {len(rest)} arguments: {name} takes {plain}")
        given = rest[plain] if len(rest) > plain and rest[plain] else {}
        if not isinstance(given, Mapping):
            raise TypeError(f"the options of operation {position} of the batch are no map")
        unknown = [option for option in given if option not in _OPTIONS[name]]
        if unknown:
            raise BadRequest(f"operation {position} of the batch: {name} has no option {unknown[0]!r}")
        condition = check_version(given.get("if_version"))
        if name == "delete":
            return KIND_DELETE, self.key(rest[0]), None, 0, condition
        return KIND_PUT, self.key(rest[0]), self.value(rest[1]), expiry_ms(given.get("ttl"), now_ms), condition


def check_version(if_version: int | None) -> int:
    """The engine's form of ``if_version``; BadRequest or TypeError for what is none."""
    return ANY_VERSION if if_version is None else whole("if_version", if_version)


def whole(name: str, number: object, least: int = 0) -> int:
    """An integer of the wire: ``least`` to 2^64 - 1; BadRequest or TypeError for anything else."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} is an int, not {type(number).__name__}")
    if not least <= number <= _VERSION_MAX:
        raise BadRequest(f"{name} must be {least} to {_VERSION_MAX}, not {number}")
    return number


@cython.annotation_typing(False)  # an int is a fine number of seconds
def expiry_ms(ttl: float | None, now_ms: int) -> int:
    """When an entry written now expires, 0 for never. A time to live is rounded up to whole milliseconds."""
    if ttl is None:
        return 0
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise TypeError(f"ttl is a number of seconds, not {type(ttl).__name__}")
    if not (ttl > 0 and math.isfinite(ttl)):
        raise BadRequest(f"ttl must be a positive number of seconds, not {ttl}")
    return min(now_ms + math.ceil(ttl * 1000), _VERSION_MAX)


def _check_count(method: str, count: int, noun: str) -> None:
    if count > KEYS_PER_REQUEST_MAX:
        raise TooLarge(f"{method} of {count} {noun} is over the limit of {KEYS_PER_REQUEST_MAX}")
