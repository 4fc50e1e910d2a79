"""A tiny Redis over a dict for the load generator's tests: SET, GET, MGET and MSET, and a script of wrong answers.

with RespServer() as server:
    server.script[3] = lambda answer: b"-ERR no\\r\\n"     # what to say in place of the answer to request 3
"""

from support.answering_server import AnsweringServer


class RespServer(AnsweringServer):
    """``data`` is what it holds; a request is the list of its words."""

    def __init__(self) -> None:
        super().__init__()
        self.data: dict[bytes, bytes] = {}

    def execute(self, request: list[bytes]) -> bytes:
        name, *rest = request
        if name in (b"SET", b"MSET"):
            self.data.update(zip(rest[::2], rest[1::2], strict=True))
            return b"+OK\r\n"
        if name == b"GET":
            return _bulk(self.data.get(rest[0]))
        if name == b"MGET":
            return b"*%d\r\n" % len(rest) + b"".join(_bulk(self.data.get(key)) for key in rest)
        return b"-ERR unknown command\r\n"

    def split(self, data: bytes) -> tuple[list[bytes], bytes] | None:
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


def _bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)
