"""Each command of the wire, built from Python arguments: method, parameters, and how its result is read.

Both clients and their pipelines send what is built here, so that they agree argument for argument. Arguments are
checked before anything is sent: BadRequest or TooLarge for a wrong value, TypeError for a wrong type.

``repeatable`` says that doing the request twice is as good as once, so that it may be sent again when its outcome is
unknown: reads, ``flush`` and ``compact``, never ``put``, ``delete`` or ``batch``.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from sherd.common.codec import Codec, Key, ReturnedKey, Value
from sherd.common.errors import BadRequest, TooLarge
from sherd.common.limits import KEYS_PER_REQUEST_MAX, PAGE_BYTES_MAX
from sherd.common.types import At, Versioned, Written

T = TypeVar("T")

BatchOp: TypeAlias = Sequence[Any]
"""``("put", key, value[, {"ttl": seconds, "if_version": n}])`` or ``("delete", key[, {"if_version": n}])``."""

Acks: TypeAlias = Literal["leader", "insync"]
"""What a write waits for: its shard's leader, or every replica that is in sync. It can only raise the cluster's."""

_VERSION_MAX = 2**64 - 1
_STALE_MS_MAX = 2**31 - 1
_BATCH_OPTIONS = {"put": ("ttl", "if_version"), "delete": ("if_version",)}


class Request(NamedTuple, Generic[T]):
    """One request, ready to be packed."""

    method: str
    params: tuple[Any, ...]
    read: Callable[[Any], T]
    """Turns the decoded result into what the caller gets."""
    repeatable: bool


class Page(NamedTuple):
    """One page of a scan: rows as callers get them, and the cursor for the next page (None: that was all)."""

    rows: list[Any]
    cursor: bytes | None


def prefix_end(prefix: bytes) -> bytes | None:
    """The first key after all that start with ``prefix``; None if there is none (only 0xff bytes)."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,)) if head else None


def _itself(result: Any) -> Any:
    return result


def _whole(name: str, number: object, least: int, most: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} is an int, not {type(number).__name__}")
    if not least <= number <= most:
        raise BadRequest(f"{name} must be {least} to {most}, not {number}")
    return number


def _write_options(
    ttl: float | None = None,
    if_version: int | None = None,
    sync: bool | None = None,
    acks: Acks | None = None,
    meta: bool = False,
) -> dict[str, Any] | None:
    if ttl is None and if_version is None and sync is None and acks is None and not meta:
        return None
    options: dict[str, Any] = {}
    if ttl is not None:
        if isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
            raise TypeError(f"ttl is a number of seconds, not {type(ttl).__name__}")
        if not (ttl > 0 and math.isfinite(ttl)):
            raise BadRequest(f"ttl must be a positive number of seconds, not {ttl}")
        options["ttl"] = float(ttl)
    if if_version is not None:
        options["if_version"] = _whole("if_version", if_version, 0, _VERSION_MAX)
    if sync is not None:
        options["sync"] = bool(sync)
    if acks is not None:
        if acks not in ("leader", "insync"):
            raise BadRequest(f"acks must be 'leader' or 'insync', not {acks!r}")
        options["acks"] = acks
    if meta:
        options["meta"] = True
    return options


def _read_options(stale_ms: int | None, at: At | None, meta: bool = False) -> dict[str, Any]:
    options: dict[str, Any] = {"meta": True} if meta else {}
    if stale_ms is not None:
        options["stale_ms"] = _whole("stale_ms", stale_ms, 1, _STALE_MS_MAX)
    if at is not None:
        try:
            shard, term, lsn = at
        except (TypeError, ValueError):
            raise TypeError(f"at is what a write with meta gave, not {at!r}") from None
        options["at"] = [_whole("at", number, 0, _VERSION_MAX) for number in (shard, term, lsn)]
    return options


def _written(result: Any) -> Written:
    done, at = result
    return Written(done, At(*at))


def _written_each(results: Any) -> list[Written]:
    return [_written(result) for result in results]


class Commands:
    """Builds the requests of one client with its codec."""

    __slots__ = ("_codec",)

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    # Point requests

    def get(
        self, key: Key, default: Any = None, *, meta: bool = False, stale_ms: int | None = None, at: At | None = None
    ) -> Request[Any]:
        """Read a value; ``default`` if there is none. With ``meta`` a ``Versioned``."""
        options = _read_options(stale_ms, at, meta)
        wire_key = self._codec.key(key)
        read = partial(self._read_one, default, meta)
        return Request("get", (wire_key, options) if options else (wire_key,), read, True)

    def put(
        self,
        key: Key,
        value: Value,
        *,
        ttl: float | None = None,
        if_version: int | None = None,
        sync: bool | None = None,
        acks: Acks | None = None,
        meta: bool = False,
    ) -> Request[Any]:
        """Write a value; the result is its version. With ``meta`` a ``Written``."""
        options = _write_options(ttl, if_version, sync, acks, meta)
        wire_key, wire_value = self._codec.key(key), self._codec.value(value)
        params = (wire_key, wire_value) if options is None else (wire_key, wire_value, options)
        return Request("put", params, _written if meta else _itself, False)

    def delete(
        self,
        key: Key,
        *,
        if_version: int | None = None,
        return_value: bool = False,
        sync: bool | None = None,
        acks: Acks | None = None,
        meta: bool = False,
    ) -> Request[Any]:
        """Remove a key; the result says whether it was there. With ``return_value`` it is the old value in place of
        True, so the False of a key that was not there reads like a stored False. With ``meta`` a ``Written``."""
        options = _write_options(None, if_version, sync, acks, meta)
        if return_value:
            options = {**(options or {}), "return": True}
        wire_key = self._codec.key(key)
        read = partial(self._read_deleted, return_value, meta)
        return Request("delete", (wire_key,) if options is None else (wire_key, options), read, False)

    def mget(
        self, keys: Iterable[Key], *, meta: bool = False, stale_ms: int | None = None, at: At | None = None
    ) -> Request[list[Any]]:
        """Read several values, None for each key that is not there, in the order asked."""
        if isinstance(keys, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"keys is a sequence of keys, not one {type(keys).__name__}")
        wire_keys = [self._codec.key(key) for key in keys]
        _check_count("mget", len(wire_keys), "keys")
        options = _read_options(stale_ms, at, meta)
        params = (wire_keys, options) if options else (wire_keys,)
        return Request("mget", params, partial(self._read_many, meta), True)

    def batch(
        self, ops: Iterable[BatchOp], *, sync: bool | None = None, acks: Acks | None = None, meta: bool = False
    ) -> Request[list[Any]]:
        """Several writes; per shard all or nothing. The result has a version for a put, a bool for a delete; with
        ``meta`` a ``Written`` for each."""
        wire_ops = [self._batch_op(position, op) for position, op in enumerate(ops)]
        _check_count("batch", len(wire_ops), "operations")
        options = _write_options(sync=sync, acks=acks, meta=meta)
        read = _written_each if meta else _itself
        return Request("batch", (wire_ops,) if options is None else (wire_ops, options), read, False)

    # Ranges

    def scan_first(
        self,
        start: Key | None,
        end: Key | None,
        *,
        prefix: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
        keys_only: bool = False,
        page_bytes: int | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
    ) -> Request[Page]:
        """The first page of a scan: ``start`` included, ``end`` excluded, both cut down to ``prefix``."""
        options = self._page_options(limit, keys_only, page_bytes, stale_ms, at)
        wire_prefix = self._codec.bound(prefix)
        if reverse:
            options["reverse"] = True
        if wire_prefix is not None:
            options["prefix"] = wire_prefix
        params = (self._codec.bound(start), self._codec.bound(end), options)
        return Request("scan", params, partial(self._read_page, keys_only), True)

    def scan_next(
        self,
        cursor: bytes,
        *,
        limit: int | None = None,
        keys_only: bool = False,
        page_bytes: int | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
    ) -> Request[Page]:
        """The page after the one that gave ``cursor``, which carries bounds and direction."""
        options = self._page_options(limit, keys_only, page_bytes, stale_ms, at)
        options["cursor"] = cursor
        return Request("scan", (None, None, options), partial(self._read_page, keys_only), True)

    def count(
        self,
        start: Key | None = None,
        end: Key | None = None,
        prefix: Key | None = None,
        *,
        stale_ms: int | None = None,
        at: At | None = None,
    ) -> Request[int]:
        """Number of live keys in a range. The wire knows bounds only: a prefix becomes those that it stands for."""
        low, high = self._codec.bound(start), self._codec.bound(end)
        wire_prefix = self._codec.bound(prefix)
        if wire_prefix is not None:
            after = prefix_end(wire_prefix)
            low = wire_prefix if low is None else max(low, wire_prefix)
            high = after if high is None else high if after is None else min(high, after)
        options = _read_options(stale_ms, at)
        return Request("count", (low, high, options) if options else (low, high), _itself, True)

    # The server

    def ping(self) -> Request[str]:
        return Request("ping", (), _itself, True)

    def status(self) -> Request[dict[str, Any]]:
        return Request("status", (), _itself, True)

    def topology(self) -> Request[dict[str, Any]]:
        return Request("topology", (), _itself, True)

    def flush(self) -> Request[Any]:
        """Write every memtable to a table, on every shard; the result comes when that is done."""
        return Request("flush", (), _itself, True)

    def compact(self) -> Request[Any]:
        """Compact every shard down to its bottom level; the result comes when that is done."""
        return Request("compact", (), _itself, True)

    def administer(self, method: str, params: Sequence[object]) -> Request[Any]:
        """A method that changes the cluster, or asks about it."""
        return Request(method, tuple(params), _itself, False)

    # Building and reading

    def _batch_op(self, position: int, op: BatchOp) -> tuple[Any, ...]:
        if isinstance(op, (str, bytes)) or not isinstance(op, Sequence) or not op:
            raise TypeError(f"operation {position} of the batch is not a sequence that starts with 'put' or 'delete'")
        name, *rest = op
        if name not in _BATCH_OPTIONS:
            raise BadRequest(f"operation {position} of the batch is {name!r}, not 'put' or 'delete'")
        plain = 2 if name == "put" else 1
        if not plain <= len(rest) <= plain + 1:
            raise BadRequest(f"operation {position} of the batch has {len(rest)} arguments: {name} takes {plain}, "
                             "and a map of options")  # fmt: skip
        wire_op = (name, self._codec.key(rest[0])) + ((self._codec.value(rest[1]),) if name == "put" else ())
        given = rest[plain] if len(rest) > plain else None
        if not given:
            return wire_op
        if not isinstance(given, Mapping):
            raise TypeError(f"the options of operation {position} of the batch are no map")
        unknown = [option for option in given if option not in _BATCH_OPTIONS[name]]
        if unknown:
            raise BadRequest(f"operation {position} of the batch: {name} has no option {unknown[0]!r}")
        options = _write_options(given.get("ttl"), given.get("if_version"))
        return wire_op if options is None else (*wire_op, options)

    @staticmethod
    def _page_options(
        limit: int | None, keys_only: bool, page_bytes: int | None, stale_ms: int | None, at: At | None
    ) -> dict[str, Any]:
        options = _read_options(stale_ms, at)
        if limit is not None:
            options["limit"] = limit
        if keys_only:
            options["keys_only"] = True
        if page_bytes is not None:
            options["max_bytes"] = _whole("page_bytes", page_bytes, 1, PAGE_BYTES_MAX)
        return options

    def _read_one(self, default: Any, meta: bool, result: Any) -> Any:
        if result is None:
            return default
        if meta:
            value, version, seconds_left = result
            return Versioned(self._codec.read_value(value), version, seconds_left)
        return self._codec.read_value(result)

    def _read_deleted(self, return_value: bool, meta: bool, result: Any) -> Any:
        if meta:
            written = _written(result)
            return written._replace(result=self._read_deleted(return_value, False, written.result))
        return self._codec.read_value(result) if return_value else result

    def _read_many(self, meta: bool, result: Any) -> list[Any]:
        return [self._read_one(None, meta, one) for one in result]

    def _read_page(self, keys_only: bool, result: Any) -> Page:
        rows, cursor = result
        read_key, read_value = self._codec.read_key, self._codec.read_value
        if keys_only:
            read_rows: list[ReturnedKey] = [read_key(key) for key in rows]
        else:
            read_rows = [(read_key(key), read_value(value)) for key, value in rows]
        return Page(read_rows, cursor)


def check_limit(limit: int | None) -> int | None:
    """The ``limit`` of a scan: how many rows in all, 1 and up, or None."""
    return None if limit is None else _whole("limit", limit, 1, _VERSION_MAX)


def _check_count(method: str, count: int, noun: str) -> None:
    if count > KEYS_PER_REQUEST_MAX:
        raise TooLarge(f"{method} of {count} {noun} is over the limit of {KEYS_PER_REQUEST_MAX}")
