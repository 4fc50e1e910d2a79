"""A janitor process as the shard's event loop meets it; what it is told and answers is in ``janitor_protocol``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from sherd.shard.janitor_protocol import NICE_YIELD, janitor_command
from sherd.shard.lsm.options import EngineOptions

STOP_SECONDS = 2.0
READ_BYTES = 1 << 16


class JanitorProcess(Protocol):
    """One janitor, from its start to its end."""

    @property
    def pid(self) -> int: ...

    @property
    def listens(self) -> bool:
        """Whether it can still be told something."""
        ...

    def write(self, data: bytes) -> None:
        """Tell it something; nothing happens if it does not listen any more."""
        ...

    async def read(self) -> bytes:
        """What it has said since; empty when it has ended."""
        ...

    def cpu_ticks(self) -> int | None:
        """Processor time that it has used, in any unit; None if that can't be told."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    async def end(self) -> int:
        """Have it give up its work and end; its exit code."""
        ...


SpawnJanitor = Callable[[str, EngineOptions, int], Awaitable[JanitorProcess]]
"""Starts a janitor for a directory, which ends with the process of the given pid. OSError if that can't be done."""


class ChildJanitor:
    """A child process of this one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the janitor has no pipes")
        self._process = process
        self._input = process.stdin
        self._output = process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def listens(self) -> bool:
        return not self._input.is_closing()

    def write(self, data: bytes) -> None:
        if self.listens:
            self._input.write(data)

    async def read(self) -> bytes:
        return await self._output.read(READ_BYTES)

    def cpu_ticks(self) -> int | None:
        return cpu_ticks(self.pid)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> int:
        self._input.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            return await self._process.wait()


async def spawn_janitor(directory: str, options: EngineOptions, parent_pid: int) -> ChildJanitor:
    """A janitor that yields to everything else until it is told otherwise."""
    return ChildJanitor(
        await asyncio.create_subprocess_exec(
            *janitor_command(directory, options, parent_pid, NICE_YIELD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
    )


def cpu_ticks(pid: int) -> int | None:
    """Processor time that a process has used, in the kernel's ticks; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[11]) + int(fields[12])
