"""Methods that change the cluster: the proxy hands them on to the coordinator that the topology names.

What the coordinator answers is the answer; where there is none, or it does not answer, the request was perhaps carried
out and perhaps not, which the client is told: each of these methods can be asked for again.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgpack

from sherd.common.errors import BadRequest, Timeout, TooLarge, Unavailable, WireError
from sherd.common.net.stream import ask_once
from sherd.common.world import World
from sherd.proxy.params import decode_params
from sherd.proxy.routes import Routes
from sherd.proxy.session import Session

PARAMS_BYTES_MAX = 64 << 10
ANSWER_SECONDS_MAX = 600.0
REQUESTS_MAX = 32
METHODS = ("failover",)


class Coordination:
    """Forwards ``METHODS``; its tasks belong to ``tasks``."""

    def __init__(self, routes: Routes, world: World, tasks: asyncio.TaskGroup) -> None:
        self._routes = routes
        self._world = world
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    @property
    def calls(self) -> Mapping[bytes, Callable[[Session, bytes, bytes], None]]:
        """What carries out each of the methods."""
        return {name.encode(): self._call_of(name) for name in METHODS}

    def stop(self) -> None:
        """Give up what is under way."""
        for task in self._running:
            task.cancel()

    def _call_of(self, method: str) -> Callable[[Session, bytes, bytes], None]:
        def call(session: Session, msgid: bytes, params: bytes) -> None:
            if len(params) > PARAMS_BYTES_MAX:
                raise TooLarge(f"params of {len(params)} bytes are over the limit of {PARAMS_BYTES_MAX} for {method}")
            if len(self._running) >= REQUESTS_MAX:
                raise Unavailable(f"{REQUESTS_MAX} requests to the coordinator are under way")
            found = [
                item.decode(errors="replace") if isinstance(item, bytes) else item
                for item in decode_params(params, 0, 16)
            ]
            task = self._tasks.create_task(self._forward(session, msgid, method, found))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        return call

    async def _forward(self, session: Session, msgid: bytes, method: str, params: list[object]) -> None:
        try:
            session.reply(msgid, msgpack.packb(await self._ask(method, params)))
        except WireError as error:
            session.fail(msgid, error)

    async def _ask(self, method: str, params: list[object]) -> object:
        address = self._routes.topology.coordinator
        if not address:
            raise Unavailable("no coordinator runs: the cluster can't be changed now")
        try:
            return await ask_once(self._world.network, address, method, params, ANSWER_SECONDS_MAX)
        except TimeoutError as error:
            raise Timeout(f"the coordinator has not answered for {ANSWER_SECONDS_MAX:g} s") from error
        except OSError as error:
            raise Unavailable(f"the coordinator at {address} does not answer: {error}; ask again") from error
        except ValueError as error:
            raise BadRequest(f"{method}: {error}") from error
