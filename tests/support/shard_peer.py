"""A client that talks to one replica itself, over TCP, past the proxy; and a watch on what it answers, and when."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import msgpack

from sherd.common.wire.encode import request

PATIENCE_SECONDS = 30.0
STALE_MS = 60_000
PAUSE_SECONDS = 0.01


class ShardPeer:
    """One connection. OSError when it breaks or nothing comes for ``PATIENCE_SECONDS``."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=PATIENCE_SECONDS)
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=2**31 - 1)
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def cut(self) -> None:
        """From another thread: whoever waits for an answer gets OSError."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def ask(self, method: str, *params: object) -> tuple[Any, Any]:
        """The error and the result."""
        self._next += 1
        self._socket.sendall(request(self._next, method, list(params)))
        while True:
            for _, msgid, error, result in self._unpacker:
                assert msgid == self._next, "answers come in the order of the requests"
                return error, result
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionResetError("the shard closed the connection")
            self._unpacker.feed(data)

    def scan(self) -> list[object]:
        """Everything the replica has: key, value, version and seconds left of each entry, one after the other."""
        found: list[object] = []
        start: object = None
        while True:
            error, answer = self.ask("fetch", start, None, {"meta": True, "stale_ms": STALE_MS})
            assert error is None, error
            _, start, _, rows = answer
            found += msgpack.Unpacker(io.BytesIO(rows), raw=False)
            if start is None:
                return found


@dataclass(frozen=True, slots=True)
class Answer:
    """A read that was answered with data. Times are monotonic, in seconds."""

    sent_at: float
    received_at: float


class LeaderWatch:
    """Reads ``key`` from one replica, again and again, from a thread; only a leader answers that with data."""

    def __init__(self, enter: Callable[[], None], host: str, port: int, key: str) -> None:
        self._enter = enter
        self._place = (host, port)
        self._key = key
        self._stopped = threading.Event()
        self._peer: ShardPeer | None = None
        self._thread = threading.Thread(target=self._run)
        self.answers: list[Answer] = []
        self.refusals = 0
        self.breaks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if (peer := self._peer) is not None:
            peer.cut()
        self._thread.join()

    def _run(self) -> None:
        self._enter()
        while not self._stopped.is_set():
            try:
                with ShardPeer(*self._place) as self._peer:
                    self._watch(self._peer)
            except OSError:
                self.breaks += 1
            self._stopped.wait(PAUSE_SECONDS)

    def _watch(self, peer: ShardPeer) -> None:
        while not self._stopped.is_set():
            sent_at = time.monotonic()
            error, _ = peer.ask("get", self._key, {})
            if error is None:
                self.answers.append(Answer(sent_at, time.monotonic()))
            else:
                self.refusals += 1
            self._stopped.wait(PAUSE_SECONDS)
