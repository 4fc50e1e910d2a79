"""Clients of a simulated cluster: they read and write a few keys through its proxies and note what they were told."""

import asyncio
import itertools
from typing import Any

from sherd.common.errors import Conflict, Overloaded, SherdError, Unavailable
from sherd.common.net.stream import Stream
from sherd.common.world import World
from sim.history import History, Kind, Outcome

ANSWER_SECONDS = 8.0
VALUE_BYTES_MAX = 3000
LONE_CHANCE = 0.2
"""That an operation is on a key of its own, where nothing covers up what went wrong with it."""


class ClusterClient:
    """Does one operation after the other on ``keys``, until it is stopped, at about ``rate`` a second."""

    def __init__(self, world: World, name: str, addresses: list[str], history: History, keys: list[bytes]) -> None:
        self._world = world
        self._name = name
        self._addresses = itertools.cycle(addresses)
        self._history = history
        self._keys = keys
        self._stream: Stream | None = None
        self._seen: dict[bytes, int] = {}

    async def work(self, rate: float) -> None:
        dice = self._world.random
        for number in itertools.count():
            kind: Kind = dice.choice(("get", "get", "put", "put", "put", "delete"))
            lone = dice.random() < LONE_CHANCE
            await self._do(kind, f"{self._name}-{number}".encode() if lone else dice.choice(self._keys), number)
            await asyncio.sleep(dice.expovariate(rate))

    async def _do(self, kind: Kind, key: bytes, number: int) -> None:
        dice = self._world.random
        condition = self._seen.get(key) if kind != "get" and dice.random() < 0.3 else None
        value = f"{self._name}-{number}-{'x' * dice.randrange(VALUE_BYTES_MAX)}" if kind == "put" else None
        encoded = None if value is None else value.encode()
        noted = self._history.begin(self._name, kind, key, encoded, condition)
        options = {} if condition is None else {"if_version": condition}
        if kind == "get":
            options = {"meta": True}
        params = [key, value, options] if kind == "put" else [key, options]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                stream = await self._connected()
        except (OSError, TimeoutError):
            self._history.end(noted, Outcome.FAILED)
            await asyncio.sleep(0.2)
            return
        await self._ask(stream, noted, kind, key, params)

    async def _ask(self, stream: Stream, noted: int, kind: Kind, key: bytes, params: list[Any]) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                result = await stream.ask(kind, params)
        except Conflict as error:
            self._seen[key] = error.version
            self._history.end(noted, Outcome.CONFLICT, version=error.version)
        except (Unavailable, Overloaded):
            self._history.end(noted, Outcome.FAILED)
        except (SherdError, OSError, TimeoutError) as error:
            self._history.end(noted, Outcome.UNKNOWN)
            if not isinstance(error, SherdError):
                stream.close()
                self._stream = None
        else:
            self._told(noted, kind, key, result)

    def _told(self, noted: int, kind: Kind, key: bytes, result: Any) -> None:
        if kind == "put":
            self._seen[key] = result
            self._history.end(noted, version=result)
        elif kind == "delete":
            self._seen[key] = 0
            self._history.end(noted, existed=result)
        elif result is None:
            self._seen[key] = 0
            self._history.end(noted, found=None)
        else:
            value, version, _ = result
            self._seen[key] = version
            self._history.end(noted, found=value.encode(), version=version)

    async def _connected(self) -> Stream:
        if self._stream is None:
            self._stream = await Stream.open(self._world.network, next(self._addresses))
        return self._stream
