"""Children of this run: started in a directory of their own, stopped by their pid, their output kept in a log there."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
ASK_AGAIN_SECONDS = 0.02
LOG_CHARACTERS_SHOWN = 2000


class NotServing(Exception):
    """A server ended, or did not answer in time; the message has the end of its log."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


class Child:
    """One running process."""

    def __init__(self, command: Sequence[str], directory: Path, log_name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / f"{log_name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.pid = self._process.pid

    def wait_for_port(self, port: int) -> None:
        """Until something accepts connections there. Raises NotServing."""
        self._wait(lambda: _accepts(port), f"accept connections on port {port}")

    def wait_for_line(self, start: str) -> str:
        """The first line of output that begins with ``start``. Raises NotServing."""
        self._wait(lambda: bool(self._line(start)), f"print a line that begins with {start!r}")
        return self._line(start)

    def _line(self, start: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        return next((line.rstrip("\n") for line in lines if line.startswith(start) and line.endswith("\n")), "")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not condition():
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                told = f"ended with {status}" if status is not None else "took too long"
                shown = self.log.read_text(errors="replace")[-LOG_CHARACTERS_SHOWN:]
                raise NotServing(f"{self.log.stem} {told} and did not {what}:\n{shown}")
            time.sleep(ASK_AGAIN_SECONDS)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help in time."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1.0)
        return sock.connect_ex(("127.0.0.1", port)) == 0
