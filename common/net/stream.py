"""A connection from one of the cluster's processes to another, for questions now and then: not for the data path."""

import asyncio
from typing import Any, Self

import msgpack

from sherd.common.errors import from_wire
from sherd.common.net.address import parse_address
from sherd.common.wire.encode import request

ANSWER_BYTES_MAX = 1 << 30
_READ_BYTES = 1 << 18


class Stream:
    """A connection: one question at a time, and notes whose answers nobody waits for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=ANSWER_BYTES_MAX)
        self._msgid = 0

    @classmethod
    async def open(cls, address: str) -> Self:
        """OSError if nobody listens there."""
        where = parse_address(address)
        if where.is_unix:
            reader, writer = await asyncio.open_unix_connection(where.path)
        else:
            reader, writer = await asyncio.open_connection(where.host, where.port)
        return cls(reader, writer)

    def send(self, method: str, params: list[Any]) -> int:
        """Send a request; its number."""
        self._msgid += 1
        self._writer.write(request(self._msgid, method, params))
        return self._msgid

    async def ask(self, method: str, params: list[Any]) -> Any:
        """The result; WireError for an error, ConnectionError if the connection ends. Answers to others are dropped."""
        wanted = self.send(method, params)
        while True:
            for frame in self._unpacker:
                match frame:
                    case [1, int(msgid), error, result]:
                        if msgid != wanted:
                            continue
                        if error is not None:
                            raise from_wire(error)
                        return result
                    case _:
                        raise ConnectionError(f"no response: {frame!r:.100}")
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise ConnectionError("the other side closed the connection")
            self._unpacker.feed(data)

    def close(self) -> None:
        self._writer.close()


async def ask_once(address: str, method: str, params: list[Any], seconds_max: float) -> Any:
    """The answer to one question on a connection of its own. OSError, TimeoutError or WireError if there is none."""
    async with asyncio.timeout(seconds_max):
        stream = await Stream.open(address)
        try:
            return await stream.ask(method, params)
        finally:
            stream.close()
