"""One way to drive both Python clients, so that the same test can hold both to the same behaviour."""

import asyncio
from collections.abc import Callable
from typing import Any

from sherd.client.aio import AsyncClient
from sherd.client.sync import Client


class SyncFace:
    """Calls of a ``Client``."""

    kind = "sync"

    def __init__(self, addresses: Any, **options: Any) -> None:
        self.client = Client(addresses, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(self.client, name)
        return found

    def scan(self, *args: Any, **options: Any) -> list[Any]:
        return list(self.client.scan(*args, **options))

    def pipeline(self, fill: Callable[[Any], object], **options: Any) -> list[Any]:
        with self.client.pipeline(**options) as pipeline:
            fill(pipeline)
        return pipeline.results

    def close_client(self) -> None:
        self.client.close()

    def close(self) -> None:
        self.client.close()


class AsyncFace:
    """Calls of an ``AsyncClient``, each run to its end on a loop of the face's own."""

    kind = "async"

    def __init__(self, addresses: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.client = AsyncClient(addresses, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def scan(self, *args: Any, **options: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [row async for row in self.client.scan(*args, **options)]

        return self._runner.run(collect())

    def pipeline(self, fill: Callable[[Any], object], **options: Any) -> list[Any]:
        async def run() -> list[Any]:
            async with self.client.pipeline(**options) as pipeline:
                fill(pipeline)
            return pipeline.results

        return self._runner.run(run())

    def close_client(self) -> None:
        self._runner.run(self.client.close())

    def close(self) -> None:
        self.close_client()
        self._runner.close()


FACES: dict[str, type[SyncFace] | type[AsyncFace]] = {"sync": SyncFace, "async": AsyncFace}
Face = SyncFace | AsyncFace
