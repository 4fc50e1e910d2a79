"""``ask_replica``: a question to one replica of a shard, be it the leader or a follower, for tools that compare and
mend them. Clients know only proxies; these know from the topology where every replica is.

``[shard, replica, method, [params ...]]``; the result is the replica's. Each question has a connection of its own, for
it is asked now and then, and links lead to leaders only.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgpack

from sherd.common.errors import BadRequest, Internal, Overloaded, Timeout, Unavailable, WireError
from sherd.common.net.stream import ask_once
from sherd.common.types import ShardId
from sherd.proxy.params import decode_params
from sherd.proxy.routes import Routes
from sherd.proxy.session import Session

logger = logging.getLogger("sherd.proxy.relay")

METHODS = frozenset({"compare", "digest", "compare_end", "rebuild", "followers", "position"})
QUESTIONS_MAX = 64


class Relay:
    """Asks replicas. Its tasks belong to ``group``."""

    def __init__(self, routes: Routes, group: asyncio.TaskGroup) -> None:
        self._routes = routes
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, session: Session, msgid: bytes, params: bytes) -> None:
        """Begin one question; its answer goes to ``session``."""
        address, method, arguments = self._read(params)
        if len(self._tasks) >= QUESTIONS_MAX:
            raise Overloaded(f"{QUESTIONS_MAX} questions to replicas are under way")
        session.begin(len(params))
        self._spawn(self._answer(session, msgid, len(params), address, method, arguments))

    def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _read(self, params: bytes) -> tuple[str, str, list[object]]:
        """(the replica's address, method, params)."""
        match decode_params(params, 4, 4):
            case [int(shard), bytes(name), bytes(method), list(arguments)]:
                pass
            case _:
                raise BadRequest("ask_replica takes a shard, a replica's name, a method and an array of params")
        if method.decode(errors="replace") not in METHODS:
            raise BadRequest(f"replicas are asked {', '.join(sorted(METHODS))}, not {method[:64]!r}")
        state = self._routes.topology.shards.get(ShardId(shard))
        replica = name.decode(errors="replace")
        if state is None or replica not in state.replicas:
            raise BadRequest(f"there is no replica {replica[:64]!r} of a shard {shard}")
        if not state.replicas[replica]:
            raise Unavailable(f"replica {replica} of shard {shard} is not up")
        return state.replicas[replica], method.decode(), arguments

    async def _answer(
        self, session: Session, msgid: bytes, size: int, address: str, method: str, arguments: list[object]
    ) -> None:
        seconds_max = self._routes.bounds.request_timeout_s
        try:
            session.reply(msgid, msgpack.packb(await ask_once(address, method, arguments, seconds_max)))
        except WireError as error:
            session.fail(msgid, error)
        except TimeoutError:
            session.fail(msgid, Timeout(f"the replica at {address} did not answer within {seconds_max:g} s"))
        except OSError as error:
            session.fail(msgid, Unavailable(f"the replica at {address} can't be asked: {error}"))
        except Exception as error:
            logger.exception("question to a replica failed")
            session.fail(msgid, Internal(f"{type(error).__name__}: {error}"))
        finally:
            session.finish(size)
