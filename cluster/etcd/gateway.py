"""etcd as its HTTP/JSON gateway gives it: the gRPC packages there are for Python are not kept up.

A request ends within ``request_seconds``, or that thrice where a new token has to be fetched on the way. A change is
sent once: when its answer is lost, nobody knows whether it was made. A watch on which nothing has come for
``silence_seconds`` is asked for anew from where it was, so that one that only seems to be open is found.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

import aiohttp

from sherd.cluster.etcd.answers import Answers
from sherd.cluster.etcd.api import (
    Absent,
    Change,
    Delete,
    EtcdRefused,
    EtcdUnavailable,
    Holds,
    KeyValue,
    Lease,
    LeaseEnded,
    Put,
)
from sherd.cluster.etcd.config import EtcdConfig
from sherd.cluster.etcd.login import Login
from sherd.cluster.etcd.members import Members
from sherd.cluster.etcd.messages import (
    GRANT,
    KEEP_ALIVE,
    RANGE,
    REVOKE,
    TXN,
    WATCH,
    GatewayError,
    Json,
    changes_of,
    grant_request,
    key_values,
    lease_of,
    lease_request,
    range_request,
    seconds_left,
    succeeded,
    txn_request,
    watch_request,
)

T = TypeVar("T")


class GatewayEtcd:
    """An ``Etcd``. To be made in the event loop that uses it, and closed there.

    ConfigError if there are no endpoints, or certificates can't be used.
    """

    def __init__(self, config: EtcdConfig) -> None:
        self._members = Members(config)
        self._login = Login(self._members, config)
        self._silence_seconds = config.silence_seconds

    async def read_prefix(self, prefix: str) -> tuple[int, list[KeyValue]]:
        return await self._ask(RANGE, range_request(prefix), key_values)

    async def transact(self, conditions: Sequence[Absent | Holds], changes: Sequence[Put | Delete]) -> bool:
        return await self._ask(TXN, txn_request(conditions, changes), succeeded, repeatable=False)

    async def grant(self, ttl_seconds: int) -> Lease:
        # Repeatable: a lease that nobody heard of ends by itself.
        return await self._ask(GRANT, grant_request(ttl_seconds), lease_of)

    async def keep_alive(self, lease: int) -> int:
        return await self._ask(KEEP_ALIVE, lease_request(lease), seconds_left)

    async def revoke(self, lease: int) -> None:
        try:
            await self._ask(REVOKE, lease_request(lease), bool)
        except LeaseEnded:
            return

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Sequence[Change], None]:
        while True:
            answers, first = await self._open(WATCH, watch_request(prefix, revision), changes_of)
            try:
                found: list[list[Change]] | None = first
                while found is not None:
                    for changes in found:
                        yield changes
                        revision = changes[0].revision + 1
                    found = await self._next(answers)
            finally:
                answers.close()

    async def close(self) -> None:
        await self._members.close()

    async def _ask(self, path: str, body: Json, read: Callable[[Json], T], *, repeatable: bool = True) -> T:
        async def call(token: str) -> T:
            answer = await self._members.ask(path, body, token, repeatable=repeatable)
            return _read(path, answer, read)

        return await self._as_user(call)

    async def _open(self, path: str, body: Json, read: Callable[[Json], T]) -> tuple[Answers, T]:
        async def call(token: str) -> tuple[Answers, T]:
            answers, first = await self._members.open(path, body, token)
            try:
                return answers, _read(path, first, read)
            except BaseException:
                answers.close()
                raise

        return await self._as_user(call)

    async def _as_user(self, call: Callable[[str], Awaitable[T]]) -> T:
        """The result of ``call`` with a token; once more with another one if etcd does not know it any longer."""
        try:
            token = await self._login.token()
            try:
                return await call(token)
            except GatewayError as error:
                if not token or not error.token_refused:
                    raise
            return await call(await self._login.token(refused=token))
        except GatewayError as error:
            raise _refusal(error) from error

    async def _next(self, answers: Answers) -> list[list[Change]] | None:
        """What a watch reports next; None if it says nothing for long."""
        try:
            result = await answers.next(self._silence_seconds)
            return None if result is None else _read(WATCH, result, changes_of)
        except GatewayError as error:
            raise _refusal(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EtcdUnavailable(f"etcd's watch ended: {error}") from error


def _read(path: str, answer: Json, read: Callable[[Json], T]) -> T:
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EtcdRefused(f"etcd's answer to {path} is not understood: {error!r}") from error


def _refusal(error: GatewayError) -> EtcdRefused | EtcdUnavailable:
    if error.transient:
        return EtcdUnavailable(f"etcd: {error.reason}")
    if error.lease_ended:
        return LeaseEnded(f"etcd: {error.reason}")
    hint = "; it asks for a user and password" if "user name is empty" in error.reason else ""
    return EtcdRefused(f"etcd refused: {error.reason}{hint}")
