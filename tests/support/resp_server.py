"""A tiny Redis over a dict for the load generator's tests: SET, GET, MGET and MSET, and a script of wrong answers.

    with RespServer() as server:
        server.script[3] = lambda answer: b"-ERR no\\r\\n"     # what to say in place of the answer to request 3

Requests are numbered from 0 in the order in which they are read, over all connections; one thread serves them all.
"""

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Self


class RespServer:
    """Listens on a free port of 127.0.0.1; ``data`` is what it holds."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.script: dict[int, Callable[[bytes], bytes]] = {}
        self.requests: list[list[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="resp server")

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
        while (found := _split_request(data)) is not None:
            words, data = found
            answer = self._execute(words)
            act = self.script.get(len(self.requests))
            self.requests.append(words)
            answers.append(answer if act is None else act(answer))
        if answers:
            sock.sendall(b"".join(answers))
        return data

    def _execute(self, words: list[bytes]) -> bytes:
        name, *rest = words
        if name in (b"SET", b"MSET"):
            self.data.update(zip(rest[::2], rest[1::2], strict=True))
            return b"+OK\r\n"
        if name == b"GET":
            return _bulk(self.data.get(rest[0]))
        if name == b"MGET":
            return b"*%d\r\n" % len(rest) + b"".join(_bulk(self.data.get(key)) for key in rest)
        return b"-ERR unknown command\r\n"


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except ConnectionResetError:
        return b""


def _bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def _split_request(data: bytes) -> tuple[list[bytes], bytes] | None:
    """The words of the request at the start of ``data`` and what follows it, or None if it is not whole."""
    head, found, rest = data.partition(b"\r\n")
    if not found:
        return None
    words = []
    for _ in range(int(head[1:])):
        size, found, rest = rest.partition(b"\r\n")
        end = int(size[1:] or b"0") if found else 0
        if not found or len(rest) < end + 2:
            return None
        words.append(rest[:end])
        rest = rest[end + 2 :]
    return words, rest
