"""What etcd's gateway sends back, within bounds: one JSON document, or a stream of them, one a line."""

import asyncio
import json
from typing import Any

import aiohttp

from sherd.cluster.etcd.messages import INTERNAL, GatewayError, Json, error_of, result_of

ANSWER_BYTES_MAX = 64 << 20
_HTTP_OK = 200


async def whole_answer(response: aiohttp.ClientResponse) -> Json:
    """The answer's one document. Raises GatewayError if it is an error, ClientError or OSError if it breaks off."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        _check_size(data)
    if response.status != _HTTP_OK:
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        raise error_of(response.status, body)
    return _document(data)


class Answers:
    """The documents of an answer that goes on. Its connection serves nothing else, and ends with ``close``."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._held = bytearray()
        self._searched = 0

    async def next(self, seconds_max: float) -> Json | None:
        """The next result; None if none came in time.

        Raises GatewayError if it is an error; ClientError or OSError if the connection ends.
        """
        try:
            async with asyncio.timeout(seconds_max):
                return await self._next()
        except TimeoutError:
            return None

    async def _next(self) -> Json:
        while (end := self._held.find(b"\n", self._searched)) < 0:
            self._searched = len(self._held)
            chunk = await self._response.content.readany()
            if not chunk:
                raise ConnectionResetError("etcd ended the stream")
            self._held += chunk
            _check_size(self._held)
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        self._searched = 0
        return result_of(_document(line))

    def close(self) -> None:
        self._response.close()


def _document(data: bytes | bytearray) -> Json:
    try:
        document: Any = json.loads(data)
    except ValueError as error:
        raise GatewayError(INTERNAL, f"the answer is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise GatewayError(INTERNAL, "the answer is not a JSON object")
    return document


def _check_size(data: bytearray) -> None:
    if len(data) > ANSWER_BYTES_MAX:
        raise GatewayError(INTERNAL, f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
