"""A connection from one of the cluster's processes to another, for questions now and then: not for the data path."""

import asyncio
from typing import Any, cast

import msgpack

from sherd.common.errors import from_wire
from sherd.common.net.address import parse_address
from sherd.common.net.network import Network
from sherd.common.wire.encode import request

ANSWER_BYTES_MAX = 1 << 30


class Stream(asyncio.Protocol):
    """A connection: questions that are waited for, and notes whose answers nobody waits for."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=ANSWER_BYTES_MAX)
        self._msgid = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._patience: dict[int, tuple[asyncio.Timeout, float]] = {}
        self._failure: Exception | None = None

    @classmethod
    async def open(cls, network: Network, address: str) -> "Stream":
        """OSError if nobody listens there."""
        return await network.connect(cls, parse_address(address))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has its methods and not its class

    def data_received(self, data: bytes) -> None:
        for timeout, seconds in self._patience.values():
            if timeout.expired():
                continue
            timeout.reschedule(asyncio.get_running_loop().time() + seconds)
        try:
            self._unpacker.feed(data)
            for frame in self._unpacker:
                self._take(frame)
        except (ValueError, msgpack.UnpackException) as error:
            self._fail(ConnectionError(f"no response: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionError("the other side closed the connection"))

    def send(self, method: str, params: list[Any]) -> int:
        """Send a request, if the connection still stands; its number."""
        self._msgid += 1
        if self._transport is not None and self._failure is None:
            self._transport.write(request(self._msgid, method, params))
        return self._msgid

    async def ask(self, method: str, params: list[Any]) -> Any:
        """The result; WireError for an error, ConnectionError if the connection ends."""
        if self._failure is not None:
            raise self._failure
        msgid = self.send(method, params)
        answer = self._asked[msgid] = asyncio.get_running_loop().create_future()
        try:
            return await answer
        finally:
            del self._asked[msgid]

    async def ask_patiently(self, method: str, params: list[Any], silence_seconds_max: float) -> Any:
        """As ``ask``, for an answer that may be long and the way slow: TimeoutError only if nothing at all has come in
        for that long.
        """
        async with asyncio.timeout(silence_seconds_max) as timeout:
            waiting = self._msgid + 1
            self._patience[waiting] = (timeout, silence_seconds_max)
            try:
                return await self.ask(method, params)
            finally:
                del self._patience[waiting]

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _take(self, frame: object) -> None:
        match frame:
            case [1, int(msgid), error, result]:
                asked = self._asked.get(msgid)
                if asked is None or asked.done():
                    return
                if error is None:
                    asked.set_result(result)
                else:
                    asked.set_exception(from_wire(error))
            case _:
                raise ValueError(f"{frame!r:.100}")

    def _fail(self, error: Exception) -> None:
        """The connection is of no more use."""
        if self._failure is None:
            self._failure = error
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(error)
        if self._transport is not None:
            self._transport.abort()


async def ask_once(network: Network, address: str, method: str, params: list[Any], seconds_max: float) -> Any:
    """The answer to one question on a connection of its own. OSError, TimeoutError or WireError if there is none."""
    async with asyncio.timeout(seconds_max):
        stream = await Stream.open(network, address)
        try:
            return await stream.ask(method, params)
        finally:
            stream.close()
