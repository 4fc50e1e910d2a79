"""A TCP forwarder whose connections can be made to fall silent, as those to a machine that is gone do."""

import asyncio
import contextlib
from typing import Self

from sherd.common.net.address import Address


class Forwarder:
    """Listens on a free port of 127.0.0.1 and passes on to ``target``; in the event loop it was entered in."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._accepted = asyncio.Semaphore(0)
        self.address = Address("127.0.0.1")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.silence()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def silence(self) -> None:
        """Pass nothing more on over the connections there are. New ones work."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def accepted(self, count: int) -> None:
        """Wait for so many connections more."""
        for _ in range(count):
            await self._accepted.acquire()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.release()
        there_reader, there_writer = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, there_writer]
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.ensure_future(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
        sink.close()
