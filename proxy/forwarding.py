"""Questions that a proxy hands on to another process of the cluster, which come now and then: each over a connection of
its own, for links lead to leaders only. What is answered there is the answer.

Where nobody answers, what was asked for was perhaps carried out and perhaps not, which the client is told: each of
these methods can be asked for again.
"""

import asyncio
import logging
from dataclasses import dataclass

import msgpack

from sherd.common.errors import BadRequest, Internal, Overloaded, Timeout, Unavailable, WireError
from sherd.common.net.network import Network
from sherd.common.net.stream import ask_once
from sherd.proxy.session import Session

logger = logging.getLogger("sherd.proxy.forwarding")

QUESTIONS_MAX = 64


@dataclass(frozen=True, slots=True)
class Question:
    """To ``whom``, in words, at ``address``; an answer is waited for ``seconds_max``."""

    whom: str
    address: str
    method: str
    params: list[object]
    seconds_max: float


class Forwarding:
    """Questions under way. Its tasks belong to ``tasks``."""

    def __init__(self, network: Network, tasks: asyncio.TaskGroup) -> None:
        self._network = network
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, session: Session, msgid: bytes, size: int, question: Question) -> None:
        """Ask for ``session``, of which it is a request of ``size`` bytes. Overloaded if there are too many."""
        if len(self._running) >= QUESTIONS_MAX:
            raise Overloaded(f"{QUESTIONS_MAX} questions to other processes are under way")
        session.begin(size)
        task = self._tasks.create_task(self._forward(session, msgid, size, question))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def stop(self) -> None:
        """Give up what is under way."""
        for task in self._running:
            task.cancel()

    async def _forward(self, session: Session, msgid: bytes, size: int, question: Question) -> None:
        try:
            session.reply(msgid, msgpack.packb(await self._ask(question)))
        except WireError as error:
            session.fail(msgid, error)
        except Exception as error:
            logger.exception("question to another process failed")
            session.fail(msgid, Internal(f"{type(error).__name__}: {error}"))
        finally:
            session.finish(size)

    async def _ask(self, question: Question) -> object:
        asked = question.method, question.params, question.seconds_max
        try:
            return await ask_once(self._network, question.address, *asked)
        except TimeoutError as error:
            raise Timeout(f"{question.whom} has not answered for {question.seconds_max:g} s") from error
        except OSError as error:
            raise Unavailable(f"{question.whom} does not answer: {error}; ask again") from error
        except ValueError as error:
            raise BadRequest(f"{question.method}: {error}") from error
