"""The blocking client. Threads, and greenlets under gevent's monkey patching, share one ``Client`` safely.

Every call takes a connection from a small pool for as long as it lasts, retries what is safe (``client/retry.py``) and
ends by its timeout. After a fork the child gets a pool of its own on first use; parent and child go on independently.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from random import random
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from sherd.client.addresses import Addresses
from sherd.client.exchange import Exchange
from sherd.client.pipeline import Pipeline
from sherd.client.pool import Pool
from sherd.client.requests import Acks, BatchOp, Commands, Page, Request, check_limit
from sherd.client.retry import (
    CONNECT_SECONDS_DEFAULT,
    MAINTENANCE_SECONDS_DEFAULT,
    TIMEOUT_SECONDS_DEFAULT,
    Attempts,
    TransportError,
    seconds_of,
)
from sherd.common.codec import Codec, Encoder, Key, ReturnedKey, Value
from sherd.common.errors import ConfigError, StoreClosed, Timeout, WireError
from sherd.common.types import At, Written

T = TypeVar("T")


class Client:
    """A client of one cluster.

    ``addresses``: ``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:/path``, several as a list or with commas between; any
    proxy of the cluster will do. Nothing is connected before the first call.

    ``timeout``: seconds a call may take with all its retries, ``math.inf`` for no end; each call's own ``timeout``
    goes before it. ``connect_timeout``: seconds to connect to one address. ``connections_max``: connections open at
    once, and so calls of different threads that are under way at once. ``key_encoding``: decode keys that come back.
    ``encoder``: a form for values other than MessagePack. ``retry``: False to try everything exactly once.

    Every method raises ``BadRequest``, ``TooLarge`` or ``TypeError`` for arguments that can't be sent, ``Timeout``
    when the outcome is unknown, ``Unavailable`` or ``Overloaded`` when it was not executed, and the rest of
    ``sherd.common.errors`` as the server says. Until a first connection was made, an unreachable server is
    ``Unavailable`` at once; later the calls wait for it to come back as long as their timeout allows.
    """

    def __init__(
        self,
        addresses: str | Iterable[str] = "127.0.0.1:7700",
        *,
        timeout: float = TIMEOUT_SECONDS_DEFAULT,
        connect_timeout: float = CONNECT_SECONDS_DEFAULT,
        connections_max: int = 16,
        key_encoding: str | None = None,
        encoder: Encoder | None = None,
        retry: bool = True,
    ) -> None:
        if connections_max < 1:
            raise ConfigError(f"connections_max must be at least 1, not {connections_max}")
        self._addresses = Addresses(addresses)
        self._seconds = seconds_of(timeout)
        self._connect_seconds = seconds_of(connect_timeout)
        self._connections_max = connections_max
        self._commands = Commands(Codec(key_encoding, encoder))
        self._retry = retry
        self._closed = False
        self._pools: dict[int, Pool] = {}  # by process id: this process's, and before first use after a fork others'
        self._pool()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<sherd.Client {self._addresses}{' closed' if self._closed else ''}>"

    def close(self) -> None:
        """Close every connection; those in use when their call ends. Later calls raise StoreClosed."""
        self._closed = True
        for pid, pool in list(self._pools.items()):
            if pid == os.getpid():
                pool.close()
            else:
                pool.abandon()

    # Keys and values

    def get(
        self,
        key: Key,
        default: Any = None,
        *,
        meta: bool = False,
        stale_ms: int | None = None,
        at: At | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The key's value, or ``default`` if it has none. With ``meta`` a ``Versioned``.

        ``stale_ms``: a follower may answer if its state is no older than that. ``at``: one may that has the write
        which gave this (``Written.at``), however old its state is. With both, both must hold.
        """
        return self._run(self._commands.get(key, default, meta=meta, stale_ms=stale_ms, at=at), timeout)

    @overload
    def put(
        self,
        key: Key,
        value: Value,
        *,
        ttl: float | None = None,
        if_version: int | None = None,
        sync: bool | None = None,
        acks: Acks | None = None,
        meta: Literal[False] = False,
        timeout: float | None = None,
    ) -> int: ...
    @overload
    def put(
        self,
        key: Key,
        value: Value,
        *,
        ttl: float | None = None,
        if_version: int | None = None,
        sync: bool | None = None,
        acks: Acks | None = None,
        meta: Literal[True],
        timeout: float | None = None,
    ) -> Written: ...
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
        timeout: float | None = None,
    ) -> Any:
        """Set the key's value and return its version, or with ``meta`` a ``Written``.

        ``ttl``: seconds until it expires. ``if_version``: only if this is the present version (0: only if there is
        none), else Conflict. ``sync``: reply when it is on stable storage, whatever the cluster's fsync policy.
        ``acks``: ``"insync"`` to reply when every replica in sync has it, whatever the cluster's level.
        """
        request = self._commands.put(key, value, ttl=ttl, if_version=if_version, sync=sync, acks=acks, meta=meta)
        return self._run(request, timeout)

    def delete(
        self,
        key: Key,
        *,
        if_version: int | None = None,
        return_value: bool = False,
        sync: bool | None = None,
        acks: Acks | None = None,
        meta: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Remove the key. True if it was there, False if not; with ``return_value`` the old value in place of True."""
        request = self._commands.delete(
            key, if_version=if_version, return_value=return_value, sync=sync, acks=acks, meta=meta
        )
        return self._run(request, timeout)

    def mget(
        self,
        keys: Iterable[Key],
        *,
        meta: bool = False,
        stale_ms: int | None = None,
        at: At | None = None,
        timeout: float | None = None,
    ) -> list[Any]:
        """The values of several keys in the order asked, None for those that have none. ``at`` is for its shard."""
        return self._run(self._commands.mget(keys, meta=meta, stale_ms=stale_ms, at=at), timeout)

    def batch(
        self,
        ops: Iterable[BatchOp],
        *,
        sync: bool | None = None,
        acks: Acks | None = None,
        meta: bool = False,
        timeout: float | None = None,
    ) -> list[Any]:
        """Several puts and deletes; those of one shard take effect together or not at all.

        An operation is ``("put", key, value[, {"ttl": seconds, "if_version": n}])`` or ``("delete", key[,
        {"if_version": n}])``. The result has a version for each put and a bool for each delete, with ``meta`` each
        as a ``Written``. Partial if some shards did theirs and others did not.
        """
        return self._run(self._commands.batch(ops, sync=sync, acks=acks, meta=meta), timeout)

    # Ranges

    @overload
    def scan(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
        keys_only: Literal[False] = False,
        page_bytes: int | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[ReturnedKey, Value]]: ...
    @overload
    def scan(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
        keys_only: Literal[True],
        page_bytes: int | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
        timeout: float | None = None,
    ) -> Iterator[ReturnedKey]: ...
    def scan(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
        keys_only: bool = False,
        page_bytes: int | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
        timeout: float | None = None,
    ) -> Iterator[Any]:
        """Iterate over (key, value), or keys alone, in byte order from ``start`` up to but not including ``end``.

        ``prefix`` cuts the range down further; ``reverse`` turns the order, not the bounds; ``limit`` ends it after
        so many. Pages of up to ``page_bytes`` (256 KiB if not given, 4 MiB at most) are fetched as the iteration
        comes to them, each by a request with its own ``timeout``; the scan as a whole is no snapshot. ``stale_ms``
        and ``at`` hold for every page, as for ``get``.
        """
        limit = check_limit(limit)
        options: dict[str, Any] = {"keys_only": keys_only, "page_bytes": page_bytes, "stale_ms": stale_ms, "at": at}
        first = self._commands.scan_first(start, end, prefix=prefix, reverse=reverse, limit=limit, **options)
        return self._rows(first, limit, options, timeout)

    def _rows(
        self, request: Request[Page], limit: int | None, options: dict[str, Any], timeout: float | None
    ) -> Iterator[Any]:
        while limit is None or limit > 0:
            page = self._run(request, timeout)
            yield from page.rows
            if limit is not None:
                limit -= len(page.rows)
            if page.cursor is None:
                return
            request = self._commands.scan_next(page.cursor, limit=limit, **options)

    def count(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
        timeout: float | None = None,
    ) -> int:
        """The number of live keys in a range, given as for ``scan``."""
        return self._run(self._commands.count(start, end, prefix, stale_ms=stale_ms, at=at), timeout)

    # The cluster

    def ping(self, *, timeout: float | None = None) -> str:
        """``"pong"`` from a proxy that serves."""
        return self._run(self._commands.ping(), timeout)

    def status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """What ``sherd status --json`` prints."""
        return self._run(self._commands.status(), timeout)

    def topology(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Which shard owns what, and where its leader is."""
        return self._run(self._commands.topology(), timeout)

    def flush(self, *, timeout: float | None = MAINTENANCE_SECONDS_DEFAULT) -> Any:
        """Have every shard write its memtable to a table, and wait for it."""
        return self._run(self._commands.flush(), timeout)

    def compact(self, *, timeout: float | None = MAINTENANCE_SECONDS_DEFAULT) -> Any:
        """Have every shard compact all it has, and wait for it."""
        return self._run(self._commands.compact(), timeout)

    def administer(self, method: str, *params: object, timeout: float | None = MAINTENANCE_SECONDS_DEFAULT) -> Any:
        """Carry out a method that changes the cluster or asks about it, with its params as the protocol has them:
        ``failover``, ``ask_replica``.
        """
        return self._run(self._commands.administer(method, params), timeout)

    def pipeline(self, *, raise_on_error: bool = True, timeout: float | None = None) -> Pipeline:
        """Collect many requests and send them in one go; see ``Pipeline``."""
        return Pipeline(self._commands, self._run_many, raise_on_error=raise_on_error, timeout=timeout)

    # Calls

    def _pool(self) -> Pool:
        """This process's pool: the one there is, or a new one in a process that a fork made."""
        pid = os.getpid()
        pool = self._pools.get(pid)
        if pool is None:
            if self._closed:
                raise StoreClosed("the client is closed")
            # setdefault is atomic: of several threads that come here first after a fork, all get the same pool.
            pool = self._pools.setdefault(pid, Pool(self._addresses, self._connections_max, self._connect_seconds))
            for other in [other for other in list(self._pools) if other != pid]:
                inherited = self._pools.pop(other, None)
                if inherited is not None:
                    inherited.abandon()
        return pool

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self._seconds if timeout is None else seconds_of(timeout))

    def _run(self, request: Request[T], timeout: float | None) -> T:
        deadline = self._deadline(timeout)
        attempts: Attempts | None = None
        while True:
            try:
                return request.read(self._attempt(request, deadline))
            except (WireError, TransportError) as error:
                if attempts is None:
                    attempts = Attempts(deadline, random, enabled=self._retry)
                delay = attempts.next_delay(error, request.repeatable, time.monotonic())
            time.sleep(delay)

    def _attempt(self, request: Request[Any], deadline: float) -> Any:
        pool = self._pool()
        stream = pool.take(deadline)
        try:
            return stream.call(request, deadline)
        except (TransportError, Timeout):
            if not stream.in_order:
                pool.failed(stream)
            raise
        finally:
            pool.give_back(stream)

    def _run_many(self, requests: Sequence[Request[Any]], timeout: float | None) -> list[Any]:
        """A result or an exception for each request."""
        deadline = self._deadline(timeout)
        exchange = Exchange(requests, Attempts(deadline, random, enabled=self._retry))
        while True:
            try:
                self._attempt_many(exchange, deadline)
                break
            except (WireError, TransportError) as error:
                delay = exchange.next_delay(error, time.monotonic())
            if delay is None:
                break
            time.sleep(delay)
        return exchange.results()

    def _attempt_many(self, exchange: Exchange, deadline: float) -> None:
        pool = self._pool()
        stream = pool.take(deadline)
        try:
            stream.exchange(exchange, deadline)
        except (TransportError, Timeout):
            pool.failed(stream)
            raise
        finally:
            pool.give_back(stream)
