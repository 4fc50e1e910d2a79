"""A real cluster of a test: ``sherd up`` in processes of its own, on a free port, on a directory of its own.

The processes die with the one that started them, however it ends. A thread per cluster starts it, takes down what it
logs, and ends when the last of its processes is gone: they all write to the same pipe.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sherd.common.errors import SherdError

if TYPE_CHECKING:
    from sherd.client.aio import AsyncClient
    from sherd.client.sync import Client

READY_PREFIX = "sherd ready "
LOG_LINES_MAX = 2_000
HOST = "127.0.0.1"

# The kernel kills a process whose parent thread ends if it asked for that, and the thread lives as long as the cluster.
_BOOT = """
import sys
from sherd.common.process import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
sys.argv[0] = "sherd"
from sherd.cli.main import main
main()
"""


class ClusterError(SherdError):
    """The cluster did not start or stop as it should; the message ends with what it logged last."""


class Cluster:
    """A cluster of its own, started by ``start`` or by entering it as a context.

    ``shards``, ``proxies``, ``partition`` (``hash`` or ``range``) and ``split_at`` (the keys at which ranges begin) are
    those of ``sherd up``. ``data``: its directory, else a temporary one that goes when it is closed. ``settings``: any
    of the configuration's, as ``{"engine.memtable_bytes": 65536}``. ``flags``: more arguments for ``sherd up``.
    ``seconds_max``: how long it may take to start, and to stop.
    """

    def __init__(
        self,
        *,
        shards: int = 2,
        proxies: int = 1,
        partition: str | None = None,
        split_at: Sequence[str] = (),
        data: str | Path | None = None,
        settings: Mapping[str, object] | None = None,
        flags: Sequence[str] = (),
        seconds_max: float = 60.0,
    ) -> None:
        self._flags = [f"--shards={shards}", f"--proxies={proxies}", "--followers=0", "--http=off"]
        if partition is not None:
            self._flags.append(f"--partition={partition}")
        if split_at:
            self._flags.append("--split-at=" + ",".join(split_at))
        self._flags += flags
        self._environ = {
            **os.environ,
            **{"SHERD_" + name.upper().replace(".", "_"): str(value) for name, value in (settings or {}).items()},
        }
        self._seconds_max = seconds_max
        self._data = None if data is None else Path(data)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._listen = f"{HOST}:0"
        self._port: socket.socket | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self._process: subprocess.Popen[str] | None = None
        self._attendant: threading.Thread | None = None
        self.ready: dict[str, str] = {}
        """What the ready line says: ``listen``, ``shards``, ``partition``, ``fsync``, ``compiled`` ..."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<sherd.testing.Cluster {self._listen}{'' if self.is_running else ' stopped'}>"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def address(self) -> str:
        """``HOST:PORT`` of its proxies; the same after a restart."""
        if not self.ready:
            raise ClusterError("the cluster was not started")
        return self._listen

    @property
    def data(self) -> Path:
        """Its directory."""
        if self._data is not None:
            return self._data
        if self._temporary is None:
            raise ClusterError("the cluster was not started")
        return Path(self._temporary.name)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        if self._process is None:
            raise ClusterError("the cluster does not run")
        return self._process.pid

    def client(self, **options: Any) -> "Client":
        """A blocking client of it; ``options`` are ``Client``'s."""
        from sherd.client.sync import Client

        return Client(self.address, **options)

    def async_client(self, **options: Any) -> "AsyncClient":
        """An asyncio client of it; ``options`` are ``AsyncClient``'s."""
        from sherd.client.aio import AsyncClient

        return AsyncClient(self.address, **options)

    def log(self) -> str:
        """What its processes logged, the last lines of it, over all its starts."""
        return "".join(self._log)

    # Life

    def start(self) -> None:
        """Start it and wait until it serves; ClusterError if it does not."""
        if self.is_running:
            raise ClusterError("the cluster is running")
        if self._data is None and self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="sherd-")
        command = [
            sys.executable, "-c", _BOOT, str(os.getpid()),
            "up", f"--data={self.data}", f"--listen={self._listen}", *self._flags,
        ]  # fmt: skip
        started = threading.Event()
        problems: list[OSError] = []
        self._attendant = threading.Thread(
            target=self._attend, args=(command, started, problems), name="sherd: cluster", daemon=True
        )
        self._attendant.start()
        started.wait()
        if problems:
            raise ClusterError(f"the cluster can't be started: {problems[0]}") from problems[0]
        try:
            line = self._ready_line()
            if line is None:
                raise self._error("the cluster did not get ready")
        except BaseException:
            self.kill()
            if not self.ready:  # it never served: nobody will close it
                self._remove_temporary()
            raise
        self.ready = dict(word.split("=", 1) for word in line.removeprefix(READY_PREFIX).split() if "=" in word)
        self._listen = self.ready["listen"]
        if self._port is None:
            self._port = _hold_port(int(self._listen.rpartition(":")[2]))

    def stop(self) -> None:
        """Stop it as Ctrl-C does, and wait; ClusterError if it fails to, or says that something went wrong."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(self._seconds_max)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._error("the cluster did not stop in time") from None
        self._end()
        if code != 0:
            raise self._error(f"the cluster stopped with exit code {code}")

    def kill(self) -> None:
        """Kill its processes without warning, and wait until all are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._end()

    def restart(self) -> None:
        """Stop it and start it on the same data at the same address."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it, and remove its directory if that is a temporary one. A cluster that does not stop is killed."""
        try:
            self.stop()
        finally:
            self.kill()
            self._remove_temporary()
            if self._port is not None:
                self._port.close()
                self._port = None

    # Within

    def _remove_temporary(self) -> None:
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            temporary.cleanup()

    def _attend(self, command: list[str], started: threading.Event, problems: list[OSError]) -> None:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environ,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            problems.append(error)
            return
        else:
            self._process = process
        finally:
            started.set()
        assert process.stderr is not None
        with process.stderr:
            self._log.extend(process.stderr)

    def _ready_line(self) -> str | None:
        """The line that says it serves; None if it ends or the time is up before."""
        assert self._process is not None
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        deadline = time.monotonic() + self._seconds_max
        said = b""
        while True:
            for line in said.decode(errors="replace").splitlines(keepends=True):
                if line.startswith(READY_PREFIX) and line.endswith("\n"):
                    return line
            seconds = deadline - time.monotonic()
            if seconds <= 0 or not select.select([source], [], [], seconds)[0]:
                return None
            data = os.read(source, 4096)
            if not data:
                return None
            said += data

    def _end(self) -> None:
        """The supervisor is gone: wait for its children, who die with it, and for the end of their log."""
        process, self._process = self._process, None
        if process is not None and process.stdout is not None:
            process.stdout.close()
        if self._attendant is not None:
            self._attendant.join(self._seconds_max)
            if self._attendant.is_alive():
                raise self._error("processes of the cluster outlive it")
            self._attendant = None

    def _error(self, message: str) -> ClusterError:
        tail = "".join(list(self._log)[-30:])
        return ClusterError(f"{message}; it logged:\n{tail}")


def _hold_port(port: int) -> socket.socket:
    """Keep the port from other programs while the cluster is down. The socket does not listen, and shares."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((HOST, port))
    except BaseException:
        holder.close()
        raise
    return holder
