"""A supervisor as a child process of a test: ready line, log lines awaited, signals, exit code."""

import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE_SECONDS = 30.0
FAKE_CLUSTER = Path(__file__).with_name("fake_cluster.py")


class UpProcess:
    """``command`` running in the background; killed at the end of the ``with`` block if it still runs."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, start_new_session=True
        )
        self.pid = self._process.pid
        self.log: list[str] = []
        self._lines: dict[str, queue.SimpleQueue[str | None]] = {}
        for name, stream in (("out", self._process.stdout), ("log", self._process.stderr)):
            self._lines[name] = queue.SimpleQueue()
            threading.Thread(target=self._pump, args=(stream, self._lines[name]), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @staticmethod
    def _pump(stream, lines):
        with stream:
            for line in stream:
                lines.put(line.rstrip("\n"))
        lines.put(None)

    def _next(self, name, what, deadline):
        try:
            line = self._lines[name].get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            raise AssertionError(f"no {what} came; the log:\n" + "\n".join(self.log + self._rest("log")))
        return line

    def _rest(self, name):
        found = []
        while not self._lines[name].empty():
            line = self._lines[name].get()
            if line is not None:
                found.append(line)
        return found

    def ready(self) -> dict[str, str]:
        """The fields of the ready line, once it comes."""
        line = self._next("out", "ready line", time.monotonic() + PATIENCE_SECONDS)
        words = line.split()
        assert words[:2] == ["sherd", "ready"], line
        return dict(word.split("=", 1) for word in words[2:])

    def await_log(self, *patterns: str) -> re.Match[str]:
        """Wait for a log line in which every pattern is found; the match of the first one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            line = self._next("log", f"log line with {patterns}", deadline)
            self.log.append(line)
            found = [re.search(pattern, line) for pattern in patterns]
            if all(found):
                return found[0]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code; what is left of the log is in ``log`` then."""
        code = self._process.wait(PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (line := self._lines["log"].get(timeout=deadline - time.monotonic())) is not None:
            self.log.append(line)
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    @property
    def log_text(self) -> str:
        return "\n".join(self.log)


def fake_up(script_dir: Path, data: Path, **flags: object) -> UpProcess:
    """A supervisor over fake children, on a free port."""
    options = {"data": data, "listen": "127.0.0.1:0", "shards": 2, **flags}
    command = [sys.executable, str(FAKE_CLUSTER), str(script_dir)]
    command += [f"--{name}={value}" for name, value in options.items() if value is not None]
    return UpProcess(command, {**os.environ, "PYTHONPATH": str(FAKE_CLUSTER.parent.parent)})


def await_death(pid: int) -> None:
    """Wait until a process, whoever its parent is, has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert poll.poll(PATIENCE_SECONDS * 1000), f"process {pid} still lives"
    finally:
        os.close(handle)


def real_up(data: Path, **flags: object) -> UpProcess:
    """``sherd up`` on a free port."""
    options = {"data": data, "listen": "127.0.0.1:0", "followers": 0, **flags}
    command = [sys.executable, "-P", "-m", "sherd.cli.main", "up"]
    return UpProcess(command + [f"--{name.replace('_', '-')}={value}" for name, value in options.items()])
