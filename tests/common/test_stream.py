"""Questions between processes: answers that come slowly, not at all, or too late by a hair."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from sherd.common.net.network import SystemNetwork
from sherd.common.net.stream import Stream

SILENCE_SECONDS = 0.3
ANSWER = msgpack.packb([1, 1, None, "an answer"])

Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


def ask(tmp_path: Path, answering: Answering) -> Any:
    """What is answered to a question, by who answers in that way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1 << 16)
            await answering(writer)
            await reader.read(1)
        finally:
            writer.close()

    async def main() -> Any:
        server = await asyncio.start_unix_server(serve, tmp_path / "socket")
        async with server:
            stream = await Stream.open(SystemNetwork(), f"unix:{tmp_path}/socket")
            try:
                return await stream.ask_patiently("pull", [], SILENCE_SECONDS)
            finally:
                stream.close()

    return asyncio.run(main())


def test_an_answer_may_take_long_as_long_as_some_of_it_comes(tmp_path: Path) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        for byte in ANSWER:
            await asyncio.sleep(SILENCE_SECONDS / 4)
            writer.write(bytes([byte]))

    assert ask(tmp_path, slowly) == "an answer"


def test_silence_is_a_timeout_also_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER[:5])
        await asyncio.sleep(2 * SILENCE_SECONDS)

    with pytest.raises(TimeoutError):
        ask(tmp_path, half)


def test_what_comes_as_the_time_is_over_is_too_late_and_nothing_else() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stream = Stream()
        now = loop.time()
        asking = loop.create_task(stream.ask_patiently("pull", [], SILENCE_SECONDS))
        # After the timeout's own call, in the same turn of the loop, and before its task has run.
        loop.call_at(now + SILENCE_SECONDS + 0.001, stream.data_received, ANSWER[:5])
        loop.call_at(now + SILENCE_SECONDS - 0.05, lambda: _block_until(now + SILENCE_SECONDS + 0.002))
        with pytest.raises(TimeoutError):
            await asking

    def _block_until(at: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < at:
            pass

    errors: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await main()

    asyncio.run(watched())
    assert not errors
