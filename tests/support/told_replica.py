"""A replica that answers what it is told to, over a unix socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack

from sherd.common.errors import WireError
from sherd.common.wire.encode import NIL, REPLY, error_body


class Replica:
    """``answers`` by method, errors too; a method that is not there is not answered at all."""

    def __init__(self, folder: Path, name: str, **answers: Any) -> None:
        self.address = f"unix:{folder}/{name}"
        self.path = folder / name
        self.answers = answers
        self.asked: list[list[Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unpacker = msgpack.Unpacker()
        with contextlib.closing(writer):
            while data := await reader.read(1 << 16):
                unpacker.feed(data)
                for _, msgid, method, params in unpacker:
                    self.asked.append([method, *params])
                    if method in self.answers:
                        writer.write(REPLY + msgpack.packb(msgid) + _body(self.answers[method]))


def _body(answer: Any) -> bytes:
    return error_body(answer) if isinstance(answer, WireError) else NIL + msgpack.packb(answer)


@contextlib.asynccontextmanager
async def serving(*replicas: Replica) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for replica in replicas:
            server = await asyncio.start_unix_server(replica.serve, replica.path)
            stack.callback(server.close)
        yield
