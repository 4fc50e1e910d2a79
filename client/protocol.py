"""The client's side of the wire protocol without any I/O: requests in, bytes out; bytes in, replies out.

One ``ClientProtocol`` serves one connection, whichever face owns it. It numbers requests, remembers the caller's token
for each, and gives the token back with the reply. A reply to a request that was forgotten (timed out, cancelled) is
dropped. The server sends nothing but replies; anything else is a ``ProtocolError``, after which the connection must be
closed. Not thread-safe: the owner sees to it that one caller at a time uses it.

    [0, msgid, method, params]   out
    [1, msgid, error, result]    in
"""

from collections.abc import Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from msgpack import Packer, Unpacker, unpackb

from sherd.client.frames import RESPONSE_BYTES_MAX, FrameError, FrameSplitter
from sherd.common.errors import BadRequest, WireError, from_wire

C = TypeVar("C")

_MSGID_MAX = 2**32 - 1
_REQUEST, _RESPONSE = 0, 1
_UNPACK: Final[dict[str, Any]] = {"raw": False, "strict_map_key": False, "unicode_errors": "surrogateescape"}


class ProtocolError(Exception):
    """The server broke the protocol; the connection can't go on."""


class Reply(NamedTuple, Generic[C]):
    """What came for one request. ``error`` is a WireError the server answered with, or what decoding raised."""

    call: C
    error: Exception | None
    result: Any


class ClientProtocol(Generic[C]):
    """One connection's requests and replies; ``C`` is whatever the owner knows a call by."""

    __slots__ = ("_msgid", "_packer", "_pending", "_splitter")

    def __init__(self, response_bytes_max: int = RESPONSE_BYTES_MAX) -> None:
        self._packer = Packer(unicode_errors="surrogateescape")
        self._splitter = FrameSplitter(response_bytes_max)
        self._pending: dict[int, C] = {}
        self._msgid = 0

    @property
    def pending(self) -> int:
        """Requests that await their reply."""
        return len(self._pending)

    def calls(self) -> Iterator[tuple[int, C]]:
        """Message id and token of each request that awaits its reply, oldest first."""
        return iter(self._pending.items())

    def send(self, method: str, params: tuple[Any, ...], call: C) -> tuple[int, bytes]:
        """The message id given to the request, and its bytes.

        TypeError for a parameter MessagePack has no form for, BadRequest for one out of its range.
        """
        msgid = self._next_msgid()
        try:
            data: bytes = self._packer.pack((_REQUEST, msgid, method, params))
        except (ValueError, OverflowError) as error:
            raise BadRequest(f"{method}: a parameter can't be written as MessagePack: {error}") from error
        self._pending[msgid] = call
        return msgid, data

    def forget(self, msgid: int) -> None:
        """Nobody waits for this reply any more; it is dropped when it comes."""
        self._pending.pop(msgid, None)

    def forget_all(self) -> list[C]:
        """The connection is gone: the tokens of all requests that will get no reply, oldest first."""
        calls = list(self._pending.values())
        self._pending.clear()
        return calls

    def receive(self, data: bytes) -> list[Reply[C]]:
        """The replies that ``data`` completes. ProtocolError if it is no such thing."""
        try:
            frames = self._splitter.feed(data)
        except FrameError as error:
            raise ProtocolError(str(error)) from None
        replies: list[Reply[C]] = []
        for frame in frames:
            msgid, error_, result = _decode(frame)
            call = self._pending.pop(msgid, None)
            if call is not None:
                replies.append(Reply(call, error_, result))
        return replies

    def _next_msgid(self) -> int:
        msgid = self._msgid
        while True:
            msgid = msgid + 1 if msgid < _MSGID_MAX else 0
            if msgid not in self._pending:
                self._msgid = msgid
                return msgid


def _decode(frame: bytes) -> tuple[int, Exception | None, Any]:
    """Message id, error and result of one frame."""
    try:
        message = unpackb(frame, **_UNPACK)
    except Exception as error:  # noqa: BLE001 - what decoding a stored value raises belongs to the call that read it
        return _msgid_of(frame, error), error, None
    if not isinstance(message, list) or len(message) != 4:
        raise ProtocolError("the server sent something that is not a reply")
    kind, msgid, error_, result = message
    if kind != _RESPONSE or type(msgid) is not int:
        raise ProtocolError("the server sent something that is not a reply")
    return msgid, None if error_ is None else _wire_error(error_), result


def _wire_error(error: object) -> WireError:
    try:
        return from_wire(error)
    except (TypeError, ValueError) as problem:
        raise ProtocolError(f"the server sent an error of a form that is not known: {error!r}") from problem


def _msgid_of(frame: bytes, error: Exception) -> int:
    """The message id of a reply whose error or result can't be decoded."""
    reader = Unpacker(**_UNPACK)
    reader.feed(frame)
    try:
        if reader.read_array_header() == 4 and reader.unpack() == _RESPONSE:
            msgid = reader.unpack()
            if type(msgid) is int:
                return msgid
    except Exception:  # noqa: BLE001 - whatever it is, it has no message id
        raise ProtocolError("the server sent something that is not a reply") from error
    raise ProtocolError("the server sent something that is not a reply") from error
