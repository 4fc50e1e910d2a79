"""Reading a Store's ranges: pages, each decoded in one go, off the live store or off a snapshot."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Self

from sherd.common.codec import Key
from sherd.common.limits import PAGE_BYTES_DEFAULT
from sherd.common.types import Versioned
from sherd.shard.lsm.scan import ColumnPage, PageRequest
from sherd.shard.lsm.snapshot import Snapshot
from sherd.shard.lsm.store_codec import StoreCodec, whole

_EVERYTHING = 1 << 60


class RowReader:
    """Turns pages into rows. Reading a row that is already there runs no Python code of ours."""

    def __init__(self, codec: StoreCodec, page: Callable[[PageRequest], ColumnPage]) -> None:
        self._codec = codec
        self._page = page

    def rows(
        self, low: bytes | None, high: bytes | None, reverse: bool, limit: int | None, keys_only: bool, page_bytes: int
    ) -> Iterator[Any]:
        """(key, value) pairs, or keys, in the order asked."""
        left = _EVERYTHING if limit is None else min(limit, _EVERYTHING)
        first = PageRequest(low, high, reverse, left, page_bytes, keys_only, False, _EVERYTHING)
        return chain.from_iterable(self._pages(first))

    def _pages(self, request: PageRequest) -> Iterator[Iterable[Any]]:
        codec = self._codec
        while request.limit > 0:
            page = self._page(request)
            keys = codec.read_keys(page.keys)
            yield keys if request.keys_only else zip(keys, codec.read_values(page.values), strict=True)
            if page.resume is None:
                return
            left = request.limit - len(page.keys)
            if request.reverse:
                request = replace(request, end=page.resume, limit=left)
            else:
                request = replace(request, start=page.resume, limit=left)


class StoreSnapshot:
    """A Store at one moment. Close it: while it is open, its memory and its files stay."""

    def __init__(self, snapshot: Snapshot, codec: StoreCodec, lock: threading.RLock) -> None:
        self._snapshot = snapshot
        self._codec = codec
        self._lock = lock

    def get(self, key: Key, default: Any = None, *, meta: bool = False) -> Any:
        """The key's value then, or ``default``. With ``meta`` a ``Versioned``, with the seconds left at that moment."""
        data = self._codec.key(key)
        with self._lock:
            entry = self._snapshot.get(data)
        if entry is None:
            return default
        value = self._codec.read_value(entry.value or b"")
        left = (entry.expiry_ms - self._snapshot.time_ms) / 1000 if entry.expiry_ms else None
        return Versioned(value, entry.lsn, left) if meta else value

    def scan(
        self,
        start: Key | None = None,
        end: Key | None = None,
        *,
        prefix: Key | None = None,
        reverse: bool = False,
        limit: int | None = None,
        keys_only: bool = False,
        page_bytes: int = PAGE_BYTES_DEFAULT,
    ) -> Iterator[Any]:
        """Iterate as ``Store.scan`` does, over the one moment."""
        low, high = self._codec.bounds(start, end, prefix)
        limit = None if limit is None else whole("limit", limit, 1)
        return RowReader(self._codec, self._page).rows(low, high, reverse, limit, keys_only, page_bytes)

    def _page(self, request: PageRequest) -> ColumnPage:
        with self._lock:
            return self._snapshot.scan_columns(request)

    def count(self, start: Key | None = None, end: Key | None = None, *, prefix: Key | None = None) -> int:
        """The number of live keys in a range then."""
        low, high = self._codec.bounds(start, end, prefix)
        with self._lock:
            return self._snapshot.count(low, high)

    def close(self) -> None:
        """Let go of memory and files. Harmless when repeated."""
        with self._lock:
            self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
