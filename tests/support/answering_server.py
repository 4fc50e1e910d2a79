"""The part of the load generator's scripted servers that no protocol changes: sockets, one thread, the numbered script.

Requests are numbered from 0 in the order in which they are read, over all connections; one thread serves them all.
"""

import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

Answer = Callable[[bytes], bytes]


class AnsweringServer(ABC):
    """Listens on a free port of 127.0.0.1. ``script[n]`` is what to make of the answer to request n."""

    greeting: ClassVar[bytes] = b""

    def __init__(self) -> None:
        self.script: dict[int, Answer] = {}
        self.requests: list[Any] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="answering server")

    @abstractmethod
    def split(self, data: bytes) -> tuple[Any, bytes] | None:
        """The request at the start of ``data`` and what follows it, or None if it is not whole."""

    @abstractmethod
    def execute(self, request: Any) -> bytes:
        """The right answer."""

    def join(self, answers: list[bytes]) -> bytes:
        """The answers to what arrived at once, in the order in which they are sent."""
        return b"".join(answers)

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b".")
        self._thread.join()
        for sock in (self._listener, self._wake, self._woken):
            sock.close()

    def _serve(self) -> None:
        held: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock is self._woken:
                        for peer in held:
                            peer.close()
                        return
                    if sock is self._listener:
                        peer, _ = self._listener.accept()
                        peer.sendall(self.greeting)
                        selector.register(peer, selectors.EVENT_READ)
                        held[peer] = b""
                        continue
                    data = _received(sock)
                    if not data:
                        selector.unregister(sock)
                        sock.close()
                        del held[sock]
                        continue
                    held[sock] = self._answer(sock, held[sock] + data)

    def _answer(self, sock: socket.socket, data: bytes) -> bytes:
        """Answer every whole request in ``data``; the rest of it."""
        answers = []
        while (found := self.split(data)) is not None:
            request, data = found
            answer = self.execute(request)
            act = self.script.get(len(self.requests))
            self.requests.append(request)
            answers.append(answer if act is None else act(answer))
        if answers:
            sock.sendall(self.join(answers))
        return data


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except ConnectionResetError:
        return b""
