"""Reading and writing entries byte for byte, against a server or a directory.

Both faces yield and take rows of (key, MessagePack bytes of the value). A network face repeats reads when a connection
breaks or a shard is away for a while; writes are plain puts, which do no harm when repeated in order.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import msgpack

from sherd.cli.json_lines import Row
from sherd.cli.raw_link import RawLink, reader_of
from sherd.common.errors import Overloaded, Timeout, Unavailable
from sherd.common.limits import PAGE_BYTES_MAX

PATIENCE_SECONDS = 30.0
"""How long in a row a command tries again when nothing gets through."""
PAUSE_SECONDS = 0.2

TRANSIENT = (ConnectionError, TimeoutError, Unavailable, Overloaded, Timeout)


@dataclass(frozen=True, slots=True)
class Range:
    """Which entries, in which order: ``start`` included, ``end`` excluded, both cut down to ``prefix``."""

    start: bytes | None = None
    end: bytes | None = None
    prefix: bytes | None = None
    reverse: bool = False
    limit: int | None = None


class Patience:
    """Decides how long to go on after failures in a row."""

    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._seconds = seconds
        self._deadline: float | None = None

    def succeeded(self) -> None:
        self._deadline = None

    def failed(self, error: Exception) -> None:
        """Wait a moment; raises ``error`` when patience is at its end."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        if now >= self._deadline:
            raise error
        time.sleep(PAUSE_SECONDS)


class EntrySource(Protocol):
    """Where rows come from."""

    def rows(self, range_: Range) -> Iterator[Row]: ...


class ServerSource:
    """Rows of a running cluster, page by page."""

    def __init__(self, addresses: str) -> None:
        self._addresses = addresses

    def rows(self, range_: Range) -> Iterator[Row]:
        """The rows of a range. A page that can't be had is asked for again, until patience ends."""
        link: RawLink | None = None
        patience = Patience()
        cursor: bytes | None = None
        left = range_.limit
        try:
            while left is None or left > 0:
                try:
                    link = link or RawLink(self._addresses)
                    rows, cursor = _parse_page(link.call("scan", _page_params(range_, cursor, left)))
                except TRANSIENT as error:
                    if link is None:
                        raise
                    link.close()
                    patience.failed(error)
                    link = _reconnect(self._addresses, patience)
                    continue
                patience.succeeded()
                yield from rows
                left = None if left is None else left - len(rows)
                if cursor is None:
                    return
        finally:
            if link is not None:
                link.close()


def _reconnect(addresses: str, patience: Patience) -> RawLink:
    while True:
        try:
            return RawLink(addresses)
        except TRANSIENT as error:
            patience.failed(error)


def _page_params(range_: Range, cursor: bytes | None, left: int | None) -> bytes:
    options: dict[str, object] = {"max_bytes": PAGE_BYTES_MAX // 4}
    if left is not None:
        options["limit"] = left
    if cursor is not None:
        options["cursor"] = cursor
        params: list[object] = [None, None, options]
    else:
        if range_.reverse:
            options["reverse"] = True
        if range_.prefix:
            options["prefix"] = range_.prefix
        params = [range_.start, range_.end, options]
    packed: bytes = msgpack.packb(params)
    return packed


def _parse_page(result: bytes) -> tuple[list[Row], bytes | None]:
    """The rows of a page, values cut out as they are, and its cursor."""
    reader = reader_of(result)
    rows: list[Row] = []
    if reader.read_array_header() != 2:
        raise ConnectionError("the server sent something that is not a page")
    for _ in range(reader.read_array_header()):
        reader.read_array_header()
        key = reader.unpack()
        start = reader.tell()
        reader.skip()
        rows.append((key, result[start : reader.tell()]))
    return rows, reader.unpack()


def key_argument(text: str) -> bytes:
    """The bytes of a key as typed; those that are not UTF-8 come through as they are."""
    return os.fsencode(text)


def bound_argument(text: str | None) -> bytes | None:
    """A bound or prefix as typed; an empty one is none."""
    return os.fsencode(text) if text else None
