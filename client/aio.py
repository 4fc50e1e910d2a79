"""The asyncio client: concurrent awaits share one pipelined connection.

The same commands, arguments and errors as ``Client`` (see there). Calls that run at the same time leave in one write a
loop turn and are answered as the replies come; a cancelled call drops its late reply. When the connection breaks, the
next call opens another, to the next address if need be (``client/links.py``).
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from random import random
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from sherd.client.addresses import Addresses
from sherd.client.exchange import UNANSWERED, UNSENT, Exchange
from sherd.client.link import Link
from sherd.client.links import Links
from sherd.client.pipeline import AsyncPipeline
from sherd.client.requests import Acks, BatchOp, Commands, Page, Request, check_limit
from sherd.client.retry import (
    CONNECT_SECONDS_DEFAULT,
    MAINTENANCE_SECONDS_DEFAULT,
    TIMEOUT_SECONDS_DEFAULT,
    Attempts,
    ConnectionLost,
    NotSent,
    TransportError,
    seconds_of,
)
from sherd.common.codec import Codec, Encoder, Key, ReturnedKey, Value
from sherd.common.errors import WireError
from sherd.common.types import At, Written

T = TypeVar("T")

_WINDOW_REQUESTS = 1_000
"""Requests a pipeline puts on the connection in one loop turn."""


class AsyncClient:
    """A client of one cluster; the parameters and the errors are those of ``Client``.

    Use it as ``async with AsyncClient(...) as db``, or call ``close`` when done. Not for several threads at once.
    """

    def __init__(
        self,
        addresses: str | Iterable[str] = "127.0.0.1:7700",
        *,
        timeout: float = TIMEOUT_SECONDS_DEFAULT,
        connect_timeout: float = CONNECT_SECONDS_DEFAULT,
        key_encoding: str | None = None,
        encoder: Encoder | None = None,
        retry: bool = True,
    ) -> None:
        self._addresses = Addresses(addresses)
        self._seconds = seconds_of(timeout)
        self._commands = Commands(Codec(key_encoding, encoder))
        self._retry = retry
        self._links = Links(self._addresses, seconds_of(connect_timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<sherd.AsyncClient {self._addresses}{' closed' if self._links.closed else ''}>"

    async def close(self) -> None:
        """Close the connection. Calls under way end as if it had broken; later ones raise StoreClosed."""
        await self._links.close()

    # Keys and values

    async def get(
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
        return await self._run(self._commands.get(key, default, meta=meta, stale_ms=stale_ms, at=at), timeout)

    @overload
    async def put(
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
    async def put(
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
    async def put(
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
        return await self._run(request, timeout)

    async def delete(
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
        return await self._run(request, timeout)

    async def mget(
        self,
        keys: Iterable[Key],
        *,
        meta: bool = False,
        stale_ms: int | None = None,
        at: At | None = None,
        timeout: float | None = None,
    ) -> list[Any]:
        """The values of several keys in the order asked, None for those that have none. ``at`` is for its shard."""
        return await self._run(self._commands.mget(keys, meta=meta, stale_ms=stale_ms, at=at), timeout)

    async def batch(
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
        return await self._run(self._commands.batch(ops, sync=sync, acks=acks, meta=meta), timeout)

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
    ) -> AsyncIterator[tuple[ReturnedKey, Value]]: ...
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
    ) -> AsyncIterator[ReturnedKey]: ...
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
    ) -> AsyncIterator[Any]:
        """Iterate (``async for``) over (key, value), or keys alone, in byte order from ``start`` on, without ``end``.

        ``prefix`` cuts the range down further; ``reverse`` turns the order, not the bounds; ``limit`` ends it after
        so many. Pages of up to ``page_bytes`` (256 KiB if not given, 4 MiB at most) are fetched as the iteration
        comes to them, each by a request with its own ``timeout``; the scan as a whole is no snapshot. ``stale_ms``
        and ``at`` hold for every page, as for ``get``.
        """
        limit = check_limit(limit)
        options: dict[str, Any] = {"keys_only": keys_only, "page_bytes": page_bytes, "stale_ms": stale_ms, "at": at}
        first = self._commands.scan_first(start, end, prefix=prefix, reverse=reverse, limit=limit, **options)
        return self._rows(first, limit, options, timeout)

    async def _rows(
        self, request: Request[Page], limit: int | None, options: dict[str, Any], timeout: float | None
    ) -> AsyncIterator[Any]:
        while limit is None or limit > 0:
            page = await self._run(request, timeout)
            for row in page.rows:
                yield row
            if limit is not None:
                limit -= len(page.rows)
            if page.cursor is None:
                return
            request = self._commands.scan_next(page.cursor, limit=limit, **options)

    async def count(
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
        return await self._run(self._commands.count(start, end, prefix, stale_ms=stale_ms, at=at), timeout)

    # The cluster

    async def ping(self, *, timeout: float | None = None) -> str:
        """``"pong"`` from a proxy that serves."""
        return await self._run(self._commands.ping(), timeout)

    async def status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """What ``sherd status --json`` prints."""
        return await self._run(self._commands.status(), timeout)

    async def topology(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Which shard owns what, and where its leader is."""
        return await self._run(self._commands.topology(), timeout)

    async def flush(self, *, timeout: float | None = MAINTENANCE_SECONDS_DEFAULT) -> Any:
        """Have every shard write its memtable to a table, and wait for it."""
        return await self._run(self._commands.flush(), timeout)

    async def compact(self, *, timeout: float | None = MAINTENANCE_SECONDS_DEFAULT) -> Any:
        """Have every shard compact all it has, and wait for it."""
        return await self._run(self._commands.compact(), timeout)

    async def administer(
        self, method: str, *params: object, timeout: float | None = MAINTENANCE_SECONDS_DEFAULT
    ) -> Any:
        """As ``Client.administer``."""
        return await self._run(self._commands.administer(method, params), timeout)

    def pipeline(self, *, raise_on_error: bool = True, timeout: float | None = None) -> AsyncPipeline:
        """Collect many requests and send them in one go; see ``AsyncPipeline``."""
        return AsyncPipeline(self._commands, self._run_many, raise_on_error=raise_on_error, timeout=timeout)

    # Calls

    async def _run(self, request: Request[T], timeout: float | None) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._seconds if timeout is None else seconds_of(timeout))
        attempts: Attempts | None = None
        while True:
            try:
                return request.read(await self._attempt(request, deadline))
            except (WireError, TransportError) as error:
                if attempts is None:
                    attempts = Attempts(deadline, random, enabled=self._retry)
                delay = attempts.next_delay(error, request.repeatable, loop.time())
            await asyncio.sleep(delay)

    async def _attempt(self, request: Request[Any], deadline: float) -> Any:
        link = await self._links.usable(deadline)
        msgid, future = link.start(request, deadline)
        try:
            return await future
        except asyncio.CancelledError:
            link.forget(msgid)
            raise
        except ConnectionLost:
            self._links.failed(link)
            raise

    async def _run_many(self, requests: Sequence[Request[Any]], timeout: float | None) -> list[Any]:
        """A result or an exception for each request."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._seconds if timeout is None else seconds_of(timeout))
        exchange = Exchange(requests, Attempts(deadline, random, enabled=self._retry))
        while True:
            try:
                await self._attempt_many(exchange, deadline)
                break
            except (WireError, TransportError) as error:
                delay = exchange.next_delay(error, loop.time())
            if delay is None:
                break
            await asyncio.sleep(delay)
        return exchange.results()

    async def _attempt_many(self, exchange: Exchange, deadline: float) -> None:
        """Send what is unsent and wait for all replies. Raises what broke, if some were left without."""
        link = await self._links.usable(deadline)
        calls: list[tuple[int, int, asyncio.Future[Any]]] = []
        problem: TransportError | None = None
        try:
            problem = await self._start_many(exchange, deadline, link, calls)
            if calls:
                await asyncio.wait([future for _, _, future in calls])
        finally:
            for _, msgid, future in calls:
                link.forget(msgid)
                if future.done():
                    future.exception()  # looked at, also when this call was cancelled
        for position, _, future in calls:
            error = future.exception()
            if isinstance(error, TransportError):
                problem = error
                if isinstance(error, NotSent):
                    exchange.outcomes[position] = UNSENT
            else:
                exchange.outcomes[position] = future.result() if error is None else error
        if problem is not None:
            self._links.failed(link)
            raise problem

    @staticmethod
    async def _start_many(
        exchange: Exchange, deadline: float, link: Link, calls: list[tuple[int, int, "asyncio.Future[Any]"]]
    ) -> TransportError | None:
        """Put what is unsent on the connection, a window a turn; what broke, if it did on the way."""
        for count, position in enumerate(exchange.unsent(), 1):
            request = exchange.requests[position]
            try:
                msgid, future = link.start(request, deadline)
                calls.append((position, msgid, future))
                exchange.outcomes[position] = UNANSWERED
                if count % _WINDOW_REQUESTS == 0:
                    await asyncio.sleep(0)
                    await link.writable(deadline)
            except TransportError as error:
                return error
            except (TypeError, WireError) as error:
                exchange.outcomes[position] = error
        return None
