"""A MessagePack-RPC server over a dict that does to single requests what it is told: for the clients' edge cases.

It is no model of a cluster (the tests in ``tests/cluster`` use real ones): it exists because late replies, cut
connections, torn bytes and odd error forms can't be asked of a server that works. One thread per connection.

    server.script(hold, cut)      # the next request is answered when told to, the one after cuts the connection
"""

import contextlib
import itertools
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

Act = Callable[["Peer", int, str, list[Any]], None]


class Peer:
    """One connection of a client, as the server sees it."""

    def __init__(self, server: "ScriptedServer", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self._sending = threading.Lock()
        self._is_cut = False

    def serve(self) -> None:
        unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogateescape")
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65536):
                unpacker.feed(data)
                for message in unpacker:
                    if not self._is_cut:
                        self._on_message(message)
        self.sock.close()

    def _on_message(self, message: list[Any]) -> None:
        if message[0] != 0:
            return
        _, msgid, method, params = message
        self.server.seen.append((method, params))
        act = self.server.next_act()
        if act is None:
            self.answer(msgid, method, params)
        else:
            act(self, msgid, method, params)

    def answer(self, msgid: int, method: str, params: list[Any]) -> None:
        """The ordinary answer."""
        try:
            result = self.server.execute(method, params)
        except Refusal as refusal:
            self.send([1, msgid, refusal.args[0], None])
        else:
            self.send([1, msgid, None, result])

    def send(self, message: object) -> None:
        self.send_bytes(msgpack.packb(message, unicode_errors="surrogateescape"))

    def send_bytes(self, data: bytes) -> None:
        step = self.server.piece_bytes or len(data)
        with self._sending:
            for start in range(0, len(data), step):
                self.sock.sendall(data[start : start + step])

    def cut(self) -> None:
        self._is_cut = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


class Refusal(Exception):
    """An error answer; its argument is what travels."""


class ScriptedServer:
    """``data``: key -> (value, version). ``seen``: (method, params) of every request, in order of arrival."""

    def __init__(self, kind: str = "tcp") -> None:
        self.data: dict[bytes, tuple[Any, int]] = {}
        self.seen: list[tuple[str, list[Any]]] = []
        self.piece_bytes = 0
        self.connections = 0
        self._acts: deque[Act] = deque()
        self._versions = itertools.count(1)
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._folder = tempfile.TemporaryDirectory(prefix="sherd-") if kind == "unix" else None
        self._bound: Any = None
        self._listener: socket.socket | None = None
        self._holder: socket.socket | None = None  # bound and not listening: keeps the port while stopped
        self.start()

    @property
    def address(self) -> str:
        return f"unix:{self._bound}" if self._folder else f"127.0.0.1:{self._bound[1]}"

    def start(self) -> None:
        """Listen; after ``stop``, at the same address."""
        if self._folder:
            self._bound = str(Path(self._folder.name) / "socket")
            Path(self._bound).unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self._bound)
        else:
            listener = _shared_socket(self._bound or ("127.0.0.1", 0))
            self._bound = listener.getsockname()
            if self._holder is None:
                self._holder = _shared_socket(self._bound)
        self._listener = listener
        listener.listen(64)
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        """Stop listening and cut every connection. A TCP port stays bound, so that nobody else can get it."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for peer in self._peers:
            peer.cut()
        for thread in self._threads:
            thread.join(10)
        self._peers.clear()
        self._threads.clear()

    def close(self) -> None:
        self.stop()
        if self._holder is not None:
            self._holder.close()
        if self._folder:
            self._folder.cleanup()

    def cut_all(self) -> None:
        """Cut every connection there is, and go on listening."""
        for peer in self._peers:
            peer.cut()

    def script(self, *acts: Act) -> None:
        """What to do with the next requests, in order; ``None`` ones and all after them are answered as usual."""
        self._acts.extend(acts)

    def next_act(self) -> Act | None:
        return self._acts.popleft() if self._acts else None

    def methods(self) -> list[str]:
        return [method for method, _ in self.seen]

    def _spawn(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                self.connections += 1
                peer = Peer(self, sock)
                self._peers.append(peer)
                self._spawn(peer.serve)

    # The commands, over a dict

    def execute(self, method: str, params: list[Any]) -> Any:
        found = getattr(self, "_do_" + method, None)
        if found is None:
            raise Refusal([2, f"UNKNOWN_METHOD {method}", None])
        return found(*params)

    def _put_one(self, key: bytes, value: Any, options: dict[str, Any] | None = None) -> int:
        self._check_version(key, options)
        version = next(self._versions)
        self.data[key] = (value, version)
        return version

    def _check_version(self, key: bytes, options: dict[str, Any] | None) -> None:
        wanted = (options or {}).get("if_version")
        present = self.data.get(key, (None, 0))[1]
        if wanted is not None and wanted != present:
            raise Refusal([4, f"CONFLICT version is {present}", {"version": present}])

    def _read(self, key: bytes, options: dict[str, Any] | None) -> Any:
        entry = self.data.get(key)
        if entry is None:
            return None
        return [entry[0], entry[1], None] if (options or {}).get("meta") else entry[0]

    def _do_get(self, key: bytes, options: dict[str, Any] | None = None) -> Any:
        return self._read(key, options)

    def _do_put(self, key: bytes, value: Any, options: dict[str, Any] | None = None) -> int:
        return self._put_one(key, value, options)

    def _do_delete(self, key: bytes, options: dict[str, Any] | None = None) -> Any:
        self._check_version(key, options)
        entry = self.data.pop(key, None)
        if (options or {}).get("return"):
            return False if entry is None else entry[0]
        return entry is not None

    def _do_mget(self, keys: list[bytes], options: dict[str, Any] | None = None) -> list[Any]:
        return [self._read(key, options) for key in keys]

    def _do_batch(self, ops: list[Any], options: dict[str, Any] | None = None) -> list[Any]:
        return [self._put_one(*op[1:]) if op[0] == "put" else self._do_delete(*op[1:]) for op in ops]

    def _do_scan(self, start: bytes | None, end: bytes | None, options: dict[str, Any] | None = None) -> list[Any]:
        options = options or {}
        reverse, prefix = bool(options.get("reverse")), options.get("prefix")
        if "cursor" in options:
            start, end, reverse = msgpack.unpackb(options["cursor"])
        keys = [key for key in self._range(start, end) if prefix is None or key.startswith(prefix)]
        if reverse:
            keys.reverse()
        page = keys[: min(options.get("limit", 10), 10)]
        cursor = None
        if len(page) < len(keys):
            left = sorted(keys[len(page) :])
            cursor = msgpack.packb([left[0], left[-1] + b"\0", reverse])
        rows = page if options.get("keys_only") else [[key, self.data[key][0]] for key in page]
        return [rows, cursor]

    def _range(self, start: bytes | None, end: bytes | None) -> list[bytes]:
        return [key for key in sorted(self.data) if (start is None or key >= start) and (end is None or key < end)]

    def _do_count(self, start: bytes | None, end: bytes | None) -> int:
        return len(self._range(start, end))

    def _do_ping(self) -> str:
        return "pong"

    def _do_status(self) -> dict[str, Any]:
        return {"version": "test", "shards": []}

    def _do_topology(self) -> dict[str, Any]:
        return {"version": 1}

    def _do_flush(self) -> dict[str, Any]:
        return {}

    def _do_compact(self) -> dict[str, Any]:
        return {}


def _shared_socket(bound: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(bound)
    return sock


# Acts


def cut_before(peer: Peer, msgid: int, method: str, params: list[Any]) -> None:
    """Break the connection without doing the request."""
    peer.cut()


def cut_after(peer: Peer, msgid: int, method: str, params: list[Any]) -> None:
    """Do the request, and break the connection before the reply."""
    peer.server.execute(method, params)
    peer.cut()


def usual(peer: Peer, msgid: int, method: str, params: list[Any]) -> None:
    """The ordinary answer; stands between other acts."""
    peer.answer(msgid, method, params)


def refuse(error: object) -> Act:
    """Answer with this error, without doing the request."""

    def act(peer: Peer, msgid: int, method: str, params: list[Any]) -> None:
        peer.send([1, msgid, error, None])

    return act


def send_raw(make: Callable[[int], bytes]) -> Act:
    """Send these bytes (made from the message id) in place of an answer."""

    def act(peer: Peer, msgid: int, method: str, params: list[Any]) -> None:
        peer.send_bytes(make(msgid))

    return act


class Hold:
    """Answers when released. ``arrived`` is set when the request is there; it is done only at the release."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self._held: list[tuple[Peer, int, str, list[Any]]] = []

    def __call__(self, peer: Peer, msgid: int, method: str, params: list[Any]) -> None:
        self._held.append((peer, msgid, method, params))
        self.arrived.set()

    def release(self) -> None:
        for peer, msgid, method, params in self._held:
            with contextlib.suppress(OSError):
                peer.answer(msgid, method, params)
