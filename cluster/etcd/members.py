"""The members of an etcd cluster over HTTP: which of them is asked, and for how long.

The one that answered last is asked first. One that can't be reached, does not answer in its share of the time, or says
that it can't serve now, is passed over: for all that is asked from then on, and for this request if it may be sent
twice or was surely not sent yet.

Connections are bounded in number. Those of requests are kept for the next one; an answer that goes on has a new one to
itself, so that many of them hold up no request, and that asking for one anew never meets a connection long dead.
"""

import asyncio
import io
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

from sherd.cluster.etcd.answers import Answers, whole_answer
from sherd.cluster.etcd.api import EtcdUnavailable
from sherd.cluster.etcd.config import EtcdConfig
from sherd.cluster.etcd.messages import GatewayError, Json, error_of
from sherd.common.errors import ConfigError
from sherd.common.logs import event

CONNECTIONS_MAX = 16
"""Of each of the two kinds."""
_HTTP_OK = 200
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_BROKEN = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)

T = TypeVar("T")
Attempt = Callable[[str, float, float], Awaitable[T]]
"""Given a member's URL, the seconds for connecting and those for all."""

log = logging.getLogger(__name__)


class Members:
    """To be made in the event loop that uses it. ConfigError for certificates that can't be used."""

    def __init__(self, config: EtcdConfig) -> None:
        if not config.endpoints:
            raise ConfigError("etcd's endpoints are needed")
        self._urls = [endpoint.rstrip("/") for endpoint in config.endpoints]
        self._first = 0
        self._seconds = config.request_seconds
        tls = _tls(config) if self._urls[0].startswith("https:") else None
        self._kept = _session(tls, force_close=False)
        self._own = _session(tls, force_close=True)

    async def ask(self, path: str, body: Json, token: str, *, repeatable: bool = True) -> Json:
        """etcd's answer. Raises EtcdUnavailable, or GatewayError for an error that another member would answer too.

        What is not ``repeatable`` is sent to one member only.
        """

        async def attempt(url: str, connect_seconds: float, seconds: float) -> Json:
            timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=connect_seconds)
            async with await _post(self._kept, url + path, body, _headers(token), timeout) as response:
                return await whole_answer(response)

        return await self._try(attempt, repeatable)

    async def open(self, path: str, body: Json, token: str) -> tuple[Answers, Json]:
        """An answer that goes on, and its first result, for the caller to close. Raises as ``ask``.

        It ends by itself when its member loses touch with the others.
        """
        headers = {**_headers(token), "Grpc-Metadata-hasleader": "true"}

        async def attempt(url: str, _: float, seconds: float) -> tuple[Answers, Json]:
            async with asyncio.timeout(seconds):
                response = await _post(self._own, url + path, body, headers, aiohttp.ClientTimeout(total=None))
                answers = Answers(response)
                try:
                    if response.status != _HTTP_OK:
                        await whole_answer(response)
                        raise error_of(response.status, None)
                    first = await answers.next(seconds)
                    if first is None:
                        raise TimeoutError("no answer")
                except BaseException:
                    answers.close()
                    raise
                return answers, first

        return await self._try(attempt, True)

    async def close(self) -> None:
        await self._kept.close()
        await self._own.close()

    async def _try(self, attempt: Attempt[T], repeatable: bool) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._seconds
        failures = []
        members_left, stale_met = len(self._urls), False
        while members_left and (left := deadline - loop.time()) > 0:
            url, share = self._urls[self._first], left / members_left
            try:
                return await attempt(url, share, share if repeatable else left)
            except (*_FAILURES, GatewayError) as error:
                if isinstance(error, GatewayError) and not error.transient:
                    raise
                reason = str(error) or "no answer in time"
                failures.append(f"{url}: {reason}")
                sent = not isinstance(error, _NOT_SENT)
                if repeatable and sent and isinstance(error, _BROKEN) and not stale_met:
                    stale_met = True  # a kept connection may have ended since it was used: once more, over another
                    continue
                event(log, logging.DEBUG, "etcd member passed over", member=url, reason=reason)
                self._pass_over(url)
                if sent and not repeatable:
                    break
                members_left -= 1
        raise EtcdUnavailable("etcd does not answer: " + "; ".join(failures))

    def _pass_over(self, url: str) -> None:
        if self._urls[self._first] == url:  # else another request has done so
            self._first = (self._first + 1) % len(self._urls)


def _session(tls: ssl.SSLContext | None, *, force_close: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=tls or True, force_close=force_close)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def _post(
    session: aiohttp.ClientSession, url: str, body: Json, headers: dict[str, str], timeout: aiohttp.ClientTimeout
) -> aiohttp.ClientResponse:
    data = io.BytesIO(json.dumps(body).encode())  # as a file, which is sent in pieces: a layout may be large
    headers = {**headers, "Content-Type": "application/json"}
    return await session.post(url, data=data, headers=headers, timeout=timeout, allow_redirects=False)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": token} if token else {}


def _tls(config: EtcdConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca or None)
        if config.cert:
            context.load_cert_chain(config.cert, config.key)
    except OSError as error:  # ssl.SSLError is one
        names = ", ".join(name for name in (config.ca, config.cert, config.key) if name)
        raise ConfigError(f"etcd's certificates cannot be used ({names}): {error.strerror or error}") from error
    return context
