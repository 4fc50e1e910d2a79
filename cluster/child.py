"""One child process, from its start to its end.

Children run in a session of their own, so that Ctrl-C reaches the supervisor alone, which then stops them in order.
Their stdout is the supervisor's stderr: stdout is for results. A child is started from the event loop's thread, which
lives as long as the supervisor; see ``die_with_parent``.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from sherd.common.errors import SherdError
from sherd.common.ready import LINE_BYTES_MAX, Ready, parse_ready

_STDERR = 2


class NotReady(SherdError):
    """The child ended, said nothing sensible, or nothing in time, instead of telling that it serves."""


class Child:
    """A running process. ``start`` makes it; whoever did must ``wait`` for it."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader) -> None:
        self._process = process
        self._reader = reader
        self.pid = process.pid

    @classmethod
    async def start(cls, command: Sequence[str], environ: Mapping[str, str]) -> "Child":
        """Start ``command`` with ``--ready-fd`` and ``--parent-pid`` added."""
        read_fd, write_fd = os.pipe()
        try:
            reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
            # The transport owns the reading end from here on, and closes it at the end of file.
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
            )
            process = await asyncio.create_subprocess_exec(
                *command,
                f"--ready-fd={write_fd}",
                f"--parent-pid={os.getpid()}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_STDERR,
                env=environ,
                pass_fds=(write_fd,),
                start_new_session=True,
            )
        finally:
            os.close(write_fd)
        return cls(process, reader)

    async def until_ready(self, seconds_max: float) -> Ready:
        """What the child says about itself; NotReady if it does not."""
        try:
            async with asyncio.timeout(seconds_max):
                line = await self._reader.readline()
            if not line:
                raise NotReady("it ended before it served")
            return parse_ready(line)
        except TimeoutError as error:
            raise NotReady(f"it did not serve within {seconds_max:g} s") from error
        except ValueError as error:
            raise NotReady(str(error)) from error

    async def wait(self) -> int:
        """The exit code; negative for the number of the signal that ended it."""
        return await self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def describe_exit(code: int) -> str:
    """An exit code in words: ``exit code 1`` or ``SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
