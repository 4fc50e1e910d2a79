"""Reading a Store's ranges: pages of rows decoded one by one, off the live store or off a snapshot."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

from sherd.common.codec import Key
from sherd.common.limits import PAGE_BYTES_DEFAULT
from sherd.common.types import Versioned
from sherd.shard.lsm.scan import Page, PageRequest
from sherd.shard.lsm.snapshot import Snapshot
from sherd.shard.lsm.store_codec import StoreCodec, whole

_EVERYTHING = 1 << 60


class RowReader:
    """Turns pages into rows. ``page`` takes the arguments of ``Engine.scan_page``."""

    def __init__(self, codec: StoreCodec, page: Callable[..., Page]) -> None:
        self._codec = codec
        self._page = page

    def rows(
        self, low: bytes | None, high: bytes | None, reverse: bool, limit: int | None, keys_only: bool, page_bytes: int
    ) -> Iterator[Any]:
        """(key, value) pairs, or keys, in the order asked."""
        left = _EVERYTHING if limit is None else limit
        read = self._codec.read_key_row if keys_only else self._codec.read_row
        while left > 0:
            page = self._page(low, high, reverse, min(left, _EVERYTHING), page_bytes, keys_only, False)
            data = memoryview(page.rows)
            at = 0
            while at < len(data):
                end = at + 4 + int.from_bytes(data[at : at + 4], "little")
                yield read(data[at + 4 : end])
                at = end
            left -= page.count
            if page.resume is None:
                return
            if reverse:
                high = page.resume
            else:
                low = page.resume


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

    def _page(
        self,
        low: bytes | None,
        high: bytes | None,
        reverse: bool,
        limit: int,
        page_bytes: int,
        keys_only: bool,
        meta: bool,
    ) -> Page:
        request = PageRequest(low, high, reverse, limit, page_bytes, keys_only, meta, _EVERYTHING)
        with self._lock:
            return self._snapshot.scan_page(request)

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
