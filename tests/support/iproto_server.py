"""A tiny Tarantool over a dict for the load generator's tests: one space, REPLACE and SELECT, and wrong answers.

    with IprotoServer() as server:
        server.script[3] = lambda answer: error(4, 0x8003, "no")     # in place of the answer to request 3

It answers what arrives at once backwards, since the order of replies is nobody's promise. The real Tarantool is in the
tests of the comparison with peers.
"""

from typing import Any

import msgpack

from support.answering_server import AnsweringServer

SELECT, REPLACE = 1, 3
SPACE = 512
NO_SUCH_SPACE = 0x8000 + 36


class IprotoServer(AnsweringServer):
    """``data`` is what it holds; a request is its header and its body."""

    greeting = b"Tarantool 2.6.0 (Binary) of these tests\n".ljust(127) + b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.data: dict[str, bytes] = {}

    def split(self, data: bytes) -> tuple[tuple[dict[int, Any], dict[int, Any]], bytes] | None:
        if len(data) < 5 or len(data) - 5 < (size := msgpack.unpackb(data[:5])):
            return None
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(data[5 : 5 + size])
        header, body = unpacker
        return (header, body), data[5 + size :]

    def execute(self, request: tuple[dict[int, Any], dict[int, Any]]) -> bytes:
        header, body = request
        if body[0x10] != SPACE:
            return error(header[1], NO_SUCH_SPACE, f"Space '#{body[0x10]}' does not exist")
        if header[0] == REPLACE:
            key, value = body[0x21]
            self.data[key] = value
            return rows(header[1], [[key, value]])
        limit, iterator, (key,) = body[0x12], body[0x14], body[0x20]
        if iterator == 0:
            return rows(header[1], [[key, self.data[key]]][:limit] if key in self.data else [])
        return rows(header[1], [[found, self.data[found]] for found in sorted(self.data) if found >= key][:limit])

    def join(self, answers: list[bytes]) -> bytes:
        return b"".join(reversed(answers))


def rows(sync: int, found: list[Any]) -> bytes:
    """A reply with rows."""
    return reply(sync, 0, {0x30: found})


def error(sync: int, code: int, text: str) -> bytes:
    """A reply with an error, and with the map of its causes that Tarantool adds."""
    return reply(sync, code, {0x31: text, 0x52: {0: [{0: "ClientError", 3: text}]}})


def reply(sync: int, code: int, body: Any) -> bytes:
    """Any reply, in the widths that Tarantool uses."""
    content = b"\x83\x00\xce" + code.to_bytes(4, "big") + b"\x01\xcf" + sync.to_bytes(8, "big") + b"\x05\xce\0\0\0\x54"
    content += msgpack.packb(body)
    return b"\xce" + len(content).to_bytes(4, "big") + content


def with_rows(answer: bytes, found: list[Any]) -> bytes:
    """``answer`` with other rows."""
    return rows(int.from_bytes(answer[14:22], "big"), found)


def with_error(answer: bytes, code: int, text: str) -> bytes:
    """An error in place of ``answer``."""
    return error(int.from_bytes(answer[14:22], "big"), code, text)
