"""Where the coordinator is asked to change the cluster: a few methods of MessagePack-RPC, forwarded by the proxies.

Each request runs in a task of its own, ``REQUESTS_MAX`` at a time over all connections; methods are coroutines that
take the decoded params and give a MessagePack-able result, or raise WireError. ``ping`` is always among them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import msgpack

from sherd.common.errors import BadRequest, Internal, Overloaded, SherdError, Unavailable, UnknownMethod, WireError
from sherd.common.net.address import Address
from sherd.common.net.network import Network, Server
from sherd.common.wire.encode import NIL, REPLY, error_body

log = logging.getLogger(__name__)

REQUESTS_MAX = 100
FRAME_BYTES_MAX = 1 << 20

Method = Callable[[list[object]], Awaitable[object]]


class Control:
    """Serves ``methods``, until it is given others; its tasks belong to ``tasks``."""

    def __init__(self, methods: Mapping[str, Method], tasks: asyncio.TaskGroup) -> None:
        self._methods = {**methods, "ping": _pong}
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._open: set[_Connection] = set()
        self._server: Server | None = None

    async def start(self, network: Network, address: Address) -> Address:
        """Listen; where it does. OSError if it can't."""
        self._server, bound = await network.listen(lambda: _Connection(self), address)
        return bound

    def serve(self, methods: Mapping[str, Method]) -> None:
        """From now on these methods. Requests under way are given up, and those who wait for them told so."""
        self._methods = {**methods, "ping": _pong}
        self._give_up()

    def stop(self) -> None:
        """Take no more requests, and give up those under way."""
        if self._server is not None:
            self._server.close()
        self._give_up()

    def _give_up(self) -> None:
        for task in self._running:
            task.cancel()
        for connection in list(self._open):
            connection.close()

    def take(self, connection: "_Connection", msgid: int, method: object, params: object) -> None:
        """A request has come in."""
        if len(self._running) >= REQUESTS_MAX:
            connection.answer(msgid, Overloaded(f"{REQUESTS_MAX} requests are under way"))
            return
        task = self._tasks.create_task(self._serve(connection, msgid, method, params))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, connection: "_Connection", msgid: int, method: object, params: object) -> None:
        connection.answer(msgid, await self._outcome(method, params))

    async def _outcome(self, method: object, params: object) -> object:
        try:
            found = self._methods.get(method) if isinstance(method, str) else None
            if found is None:
                raise UnknownMethod(f"{method!r:.64} is nothing that a coordinator does; connect to a proxy")
            if not isinstance(params, list):
                raise BadRequest("params must be an array")
            return await found(params)
        except WireError as error:
            return error
        except (SherdError, OSError, TimeoutError) as error:
            return Unavailable(f"the cluster can't be changed now: {error}")
        except Exception as error:
            log.exception("request failed")
            return Internal(f"{type(error).__name__}: {error}")

    def opened(self, connection: "_Connection") -> None:
        self._open.add(connection)

    def closed(self, connection: "_Connection") -> None:
        self._open.discard(connection)


async def _pong(params: list[object]) -> object:
    return "pong"


class _Connection(asyncio.Protocol):
    """One connection to the coordinator."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=FRAME_BYTES_MAX)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has its methods and not its class
        self._control.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._unpacker.feed(data)
            for frame in self._unpacker:
                match frame:
                    case [0, int(msgid), method, params] if 0 <= msgid < 2**32:
                        self._control.take(self, msgid, method, params)
                    case _:
                        raise ValueError("no request")
        except (ValueError, msgpack.UnpackException) as error:
            log.warning("a connection that does not speak the protocol is closed error=%s", error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._control.closed(self)

    def answer(self, msgid: int, outcome: object) -> None:
        """Send the result of a request, or its error."""
        if self._transport is None:
            return
        body = error_body(outcome) if isinstance(outcome, WireError) else NIL + msgpack.packb(outcome)
        self._transport.write(REPLY + msgpack.packb(msgid) + body)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
