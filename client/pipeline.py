"""Many requests in one go: collected first, sent together, answered one by one. Not a transaction.

    with db.pipeline() as p:
        p.put("a", 1)
        total = p.count(prefix="user:")
    p.results           # [version, number], in the order asked
    total.result()      # or each by itself

Requests that touch the same key take effect in the order collected. Leaving the ``with`` block executes what was
collected, unless an exception leaves it. With ``raise_on_error`` the first error among the results is raised once all
results are in; without it, errors stand in ``results`` in place of what they stopped.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sherd.client.requests import Acks, BatchOp, Commands, Request
from sherd.common.codec import Key, Value
from sherd.common.errors import BadRequest
from sherd.common.types import At

T = TypeVar("T")


class Pending(Generic[T]):
    """The place of one result in a pipeline."""

    __slots__ = ("_pipeline", "_position")

    def __init__(self, pipeline: "Collector", position: int) -> None:
        self._pipeline = pipeline
        self._position = position

    def result(self) -> T:
        """The result, or raises what went wrong; BadRequest before the pipeline was executed."""
        outcome: Any = self._pipeline.results[self._position]
        if isinstance(outcome, Exception):
            raise outcome
        found: T = outcome
        return found


class Collector:
    """What both faces' pipelines share: the commands. Arguments are those of the client's methods."""

    def __init__(self, commands: Commands, *, raise_on_error: bool, timeout: float | None) -> None:
        self._commands = commands
        self._raise_on_error = raise_on_error
        self._timeout = timeout
        self._requests: list[Request[Any]] = []
        self._results: list[Any] | None = None

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def results(self) -> list[Any]:
        """A result or an exception for each request; BadRequest before the pipeline was executed."""
        if self._results is None:
            raise BadRequest("the pipeline was not executed")
        return self._results

    def get(
        self, key: Key, default: Any = None, *, meta: bool = False, stale_ms: int | None = None, at: At | None = None
    ) -> Pending[Any]:
        return self._add(self._commands.get(key, default, meta=meta, stale_ms=stale_ms, at=at))

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
    ) -> Pending[Any]:
        request = self._commands.put(key, value, ttl=ttl, if_version=if_version, sync=sync, acks=acks, meta=meta)
        return self._add(request)

    def delete(
        self,
        key: Key,
        *,
        if_version: int | None = None,
        return_value: bool = False,
        sync: bool | None = None,
        acks: Acks | None = None,
        meta: bool = False,
    ) -> Pending[Any]:
        """True if the key was there, False if not; with ``return_value`` the old value in place of True."""
        request = self._commands.delete(
            key, if_version=if_version, return_value=return_value, sync=sync, acks=acks, meta=meta
        )
        return self._add(request)

    def mget(
        self, keys: Iterable[Key], *, meta: bool = False, stale_ms: int | None = None, at: At | None = None
    ) -> Pending[list[Any]]:
        return self._add(self._commands.mget(keys, meta=meta, stale_ms=stale_ms, at=at))

    def batch(
        self, ops: Iterable[BatchOp], *, sync: bool | None = None, acks: Acks | None = None, meta: bool = False
    ) -> Pending[list[Any]]:
        return self._add(self._commands.batch(ops, sync=sync, acks=acks, meta=meta))

    def count(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        stale_ms: int | None = None,
        at: At | None = None,
    ) -> Pending[int]:
        return self._add(self._commands.count(start, end, prefix, stale_ms=stale_ms, at=at))

    def ping(self) -> Pending[str]:
        return self._add(self._commands.ping())

    def _add(self, request: Request[T]) -> Pending[T]:
        if self._results is not None:
            raise BadRequest("the pipeline was executed; make a new one")
        self._requests.append(request)
        return Pending(self, len(self._requests) - 1)

    def _start(self) -> Sequence[Request[Any]]:
        if self._results is not None:
            raise BadRequest("the pipeline was executed; make a new one")
        return self._requests

    def _finish(self, results: list[Any]) -> list[Any]:
        self._results = results
        if self._raise_on_error:
            for outcome in results:
                if isinstance(outcome, Exception):
                    raise outcome
        return results


class Pipeline(Collector):
    """The pipeline of a ``Client``. One thread fills it."""

    def __init__(
        self,
        commands: Commands,
        run: Callable[[Sequence[Request[Any]], float | None], list[Any]],
        *,
        raise_on_error: bool,
        timeout: float | None,
    ) -> None:
        super().__init__(commands, raise_on_error=raise_on_error, timeout=timeout)
        self._run = run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._results is None:
            self.execute()

    def execute(self) -> list[Any]:
        """Send what was collected, wait for all replies, and return them in order."""
        return self._finish(self._run(self._start(), self._timeout))


class AsyncPipeline(Collector):
    """The pipeline of an ``AsyncClient``."""

    def __init__(
        self,
        commands: Commands,
        run: Callable[[Sequence[Request[Any]], float | None], Awaitable[list[Any]]],
        *,
        raise_on_error: bool,
        timeout: float | None,
    ) -> None:
        super().__init__(commands, raise_on_error=raise_on_error, timeout=timeout)
        self._run = run

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._results is None:
            await self.execute()

    async def execute(self) -> list[Any]:
        """Send what was collected, wait for all replies, and return them in order."""
        return self._finish(await self._run(self._start(), self._timeout))
