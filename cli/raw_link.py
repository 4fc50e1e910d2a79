"""A connection on which values stay the MessagePack bytes they are.

The Python clients decode values; moving data byte for byte must not. This is a plain blocking connection that numbers
requests, sends them without waiting, and gives replies as they come with the result undecoded.
"""

import socket
from typing import Any, Self

import msgpack

from sherd.client.frames import RESPONSE_BYTES_MAX, FrameError, FrameSplitter
from sherd.common.errors import WireError, from_wire
from sherd.common.net.address import Address, parse_addresses

RECEIVE_BYTES = 256 * 1024
SECONDS_MAX = 60.0
"""How long a server may take for anything before the connection is given up."""


class RawReply:
    """What came for request ``msgid``: an error, or the result's MessagePack bytes."""

    __slots__ = ("error", "msgid", "result")

    def __init__(self, frame: bytes) -> None:
        reader = reader_of(frame)
        try:
            if reader.read_array_header() != 4 or reader.unpack() != 1:
                raise ValueError("not a response")
            self.msgid: int = reader.unpack()
            error = reader.unpack()
        except (ValueError, msgpack.exceptions.UnpackException) as problem:
            raise ConnectionError(f"the server sent something that is not a reply: {problem}") from problem
        self.error: WireError | None = None if error is None else from_wire(error)
        self.result = frame[reader.tell() :]


def reader_of(data: bytes) -> Any:
    """An Unpacker over ``data``, for reading it piece by piece."""
    reader = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogateescape", max_buffer_size=len(data) + 1)
    reader.feed(data)
    return reader


class RawLink:
    """A connection to the first of ``addresses`` that takes it; ConnectionError, or TimeoutError, if none does."""

    def __init__(self, addresses: str) -> None:
        self._socket = _connect(parse_addresses(addresses))
        self._splitter = FrameSplitter(RESPONSE_BYTES_MAX)
        self._frames: list[bytes] = []
        self._msgid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, method: str, params: bytes) -> int:
        """Send a request with encoded ``params``; its msgid."""
        self._msgid = (self._msgid + 1) % 2**32
        head: bytes = b"\x94\x00" + msgpack.packb(self._msgid) + msgpack.packb(method)
        self._socket.sendall(head + params)
        return self._msgid

    def receive(self) -> RawReply:
        """The next reply, whichever request it answers."""
        while not self._frames:
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection")
            try:
                self._frames = self._splitter.feed(data)[::-1]
            except FrameError as error:
                raise ConnectionError(str(error)) from error
        return RawReply(self._frames.pop())

    def call(self, method: str, params: bytes) -> bytes:
        """One request and its result; only while no other is under way. Raises the WireError that it gets."""
        msgid = self.send(method, params)
        reply = self.receive()
        if reply.msgid != msgid:
            raise ConnectionError(f"the server answered request {reply.msgid}, not {msgid}")
        if reply.error is not None:
            raise reply.error
        return reply.result


def _connect(addresses: tuple[Address, ...]) -> socket.socket:
    problems: list[str] = []
    for address in addresses:
        try:
            if address.is_unix:
                found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                found.settimeout(SECONDS_MAX)
                found.connect(address.path)
            else:
                found = socket.create_connection((address.host, address.port), timeout=SECONDS_MAX)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return found
        except OSError as error:
            problems.append(f"{address}: {error.strerror or error}")
    raise ConnectionError(f"no server can be reached: {'; '.join(problems)}")
