"""A shard over a dict that speaks the internal protocol, with faults to switch on; for tests of the proxy.

It executes requests in the order they come, checks ownership by the layout it was given, and answers each with one
write. ``mute`` makes it execute and not answer, ``frozen`` keeps requests unread, ``refusing`` answers the data
methods with that error instead of executing them, ``slice_rows`` bounds what one fetch or count examines.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import cast

import msgpack

from sherd.common.errors import BadRequest, Conflict, UnknownMethod, WireError, WrongShard
from sherd.common.net.address import Address
from sherd.common.topology.token_map import TokenMap

DATA_METHODS = ("get", "put", "delete", "mget", "batch", "fetch", "count_slice")


class DictShard:
    """One shard. ``values`` maps keys to (encoded value, version); ``seen`` lists the methods executed, in order.

    ``told`` is added to what ``status`` answers.
    """

    def __init__(self, shard: int, token_map: TokenMap) -> None:
        self.shard = shard
        self.token_map = token_map
        self.values: dict[bytes, tuple[bytes, int]] = {}
        self.version = 0
        self.seen: list[tuple[str, object]] = []
        self.mute = False
        self.refusing: WireError | None = None
        self.slice_rows = 10_000
        self.told: dict[str, object] = {}
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), address.path)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        self.drop()

    def drop(self) -> None:
        """Break every connection at once."""
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def freeze(self) -> None:
        """Leave requests unread until ``thaw``."""
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.pause_reading()

    def thaw(self) -> None:
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.resume_reading()

    def execute(self, method: str, params: list[object]) -> bytes:
        """The encoded result."""
        if self.refusing is not None and method in DATA_METHODS:
            raise self.refusing
        handler: Callable[..., bytes] | None = getattr(self, f"do_{method}", None)
        if handler is None:
            raise UnknownMethod(method)
        if method != "hello":
            self.seen.append((method, params[0] if params else None))
        return handler(*params)

    def own(self, key: bytes) -> None:
        if self.token_map.owner(key) != self.shard:
            counter = self.token_map.layout.counter
            raise WrongShard(f"at layout {counter}", {"layout": counter})

    def do_hello(self, peer: object) -> bytes:
        return _pack({"shard": self.shard, "term": 1, "layout": self.token_map.layout.counter, "pid": 0})

    def do_ping(self) -> bytes:
        return _pack("pong")

    def do_get(self, key: bytes, options: object = None) -> bytes:
        self.own(key)
        return self.values.get(key, (b"\xc0", 0))[0]

    def do_put(self, key: bytes, value: object, options: dict[bytes, object] | None = None) -> bytes:
        self.own(key)
        self.check(key, options)
        self.version += 1
        self.values[key] = (_pack(value), self.version)
        return _pack(self.version)

    def do_delete(self, key: bytes, options: dict[bytes, object] | None = None) -> bytes:
        self.own(key)
        self.check(key, options)
        self.version += 1
        return _pack(self.values.pop(key, None) is not None)

    def check(self, key: bytes, options: dict[bytes, object] | None) -> None:
        expected = (options or {}).get(b"if_version")
        version = self.values.get(key, (b"", 0))[1]
        if expected is not None and expected != version:
            raise Conflict(f"version is {version}", {"version": version})

    def do_mget(self, keys: list[bytes], options: object = None) -> bytes:
        return _array([self.do_get(key) for key in keys])

    def do_batch(self, operations: list[list[object]], options: object = None) -> bytes:
        before, version = dict(self.values), self.version
        answers: list[bytes] = []
        try:
            for kind, *found in operations:
                answers.append(self.do_put(*found) if kind == b"put" else self.do_delete(*found))  # type: ignore[arg-type]
        except WireError as error:
            self.values, self.version = before, version
            if isinstance(error, Conflict):
                index = len(answers)
                raise Conflict(f"operation {index}: {error}", {"version": error.version, "index": index}) from None
            raise
        return _array(answers)

    def range(self, start: bytes | None, end: bytes | None) -> list[bytes]:
        found = [key for key in self.values if self.token_map.owner(key) == self.shard]
        return sorted(key for key in found if (start is None or key >= start) and (end is None or key < end))

    def do_fetch(self, start: bytes | None, end: bytes | None, options: dict[bytes, object]) -> bytes:
        reverse = bool(options.get(b"reverse"))
        keys = self.range(start, end)
        if reverse:
            keys.reverse()
        rows, used, taken = b"", 0, 0
        limit, size_max = int(str(options[b"limit"])), int(str(options[b"max_bytes"]))
        for key in keys[: min(limit, self.slice_rows)]:
            row = self.row(key, options)
            if taken and used + len(row) > size_max:
                break
            rows += struct.pack("<I", len(row)) + row
            used += len(row)
            taken += 1
        resume = None
        if taken < len(keys):
            resume = keys[taken - 1] if reverse else keys[taken]
        return _array([_pack(self.token_map.layout.counter), _pack(resume), _pack(taken), _pack(rows)])

    def row(self, key: bytes, options: dict[bytes, object]) -> bytes:
        value, version = self.values[key]
        if options.get(b"keys_only"):
            return _pack(key)
        return _array([_pack(key), _array([value, _pack(version), b"\xc0"]) if options.get(b"meta") else value])

    def do_count_slice(self, start: bytes | None, end: bytes | None, options: object = None) -> bytes:
        keys = self.range(start, end)
        count = min(len(keys), self.slice_rows)
        return _pack([self.token_map.layout.counter, keys[count] if count < len(keys) else None, count])

    def do_status(self) -> bytes:
        return _pack({"id": self.shard, "pid": 1, "keys": len(self.values), "bytes": 10, "fsync": "os",
                      "written_lsn": self.version, "synced_lsn": self.version, "memtable_bytes": 1, "tables": 0,
                      "levels": [], "write_amplification": 1.0, **self.told})  # fmt: skip

    def do_flush(self) -> bytes:
        return _pack({"seconds": 0.0})

    do_compact = do_flush


class _Connection(asyncio.Protocol):
    def __init__(self, shard: DictShard) -> None:
        self._shard = shard
        self._unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=2**30)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._shard.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._shard.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        replies = answer(self._shard, data, self._unpacker)
        if replies and self.transport is not None:
            self.transport.write(replies)


def answer(shard: DictShard, data: bytes, unpacker: msgpack.Unpacker | None = None) -> bytes:
    """Execute the requests in ``data``; the responses."""
    if unpacker is None:
        unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=2**30)
    unpacker.feed(data)
    replies = []
    for _, msgid, method, params in unpacker:
        name = method.decode()
        try:
            body = b"\xc0" + shard.execute(name, params)
        except WireError as error:
            body = _pack(error.wire()) + b"\xc0"
        except (TypeError, ValueError) as error:
            body = _pack(BadRequest(str(error)).wire()) + b"\xc0"
        if not shard.mute or name in ("hello", "ping"):
            replies.append(b"\x94\x01" + _pack(msgid) + body)
    return b"".join(replies)


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _array(items: list[bytes]) -> bytes:
    header: bytes = msgpack.Packer().pack_array_header(len(items))
    return header + b"".join(items)
