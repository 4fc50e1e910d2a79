"""The params of ``scan`` and ``count``, checked, with prefix and cursor resolved into one range."""

from dataclasses import dataclass
from typing import cast

from sherd.common.errors import BadRequest
from sherd.common.limits import PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX
from sherd.proxy.cursor import decode_cursor
from sherd.proxy.params import (
    decode_params,
    read_at,
    read_bound,
    read_bytes,
    read_deadline,
    read_flag,
    read_options,
    read_positive,
    read_stale_ms,
)

LIMIT_MAX = 2**31 - 1
_SCAN_OPTIONS = {
    b"limit": read_positive,
    b"max_bytes": read_positive,
    b"reverse": read_flag,
    b"prefix": read_bytes,
    b"keys_only": read_flag,
    b"meta": read_flag,
    b"cursor": read_bytes,
    b"deadline_ms": read_deadline,
    b"stale_ms": read_stale_ms,
    b"at": read_at,
}
_COUNT_OPTIONS = {b"deadline_ms": read_deadline, b"stale_ms": read_stale_ms, b"at": read_at}


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """One page of ``[start, end)``, None being no bound. ``deadline_ms`` and ``stale_ms`` are 0 when
    absent, ``at`` is None.

    ``limit`` and ``max_bytes`` over what there can be are lowered to it: LIMIT_MAX rows, PAGE_BYTES_MAX bytes.
    """

    start: bytes | None
    end: bytes | None
    reverse: bool
    keys_only: bool
    meta: bool
    limit: int
    max_bytes: int
    deadline_ms: int
    stale_ms: int = 0
    at: tuple[int, int, int] | None = None

    @property
    def staleness(self) -> dict[str, object]:
        """The options that tell a shard what a follower may answer."""
        options: dict[str, object] = {}
        if self.stale_ms:
            options["stale_ms"] = self.stale_ms
        if self.at is not None:
            options["at"] = self.at
        return options

    @property
    def is_empty(self) -> bool:
        """Whether no key can be in the range."""
        return self.end is not None and self.end <= (self.start or b"")


def read_scan(params: bytes) -> ScanRequest:
    """``[start, end]`` or ``[start, end, options]``. BadRequest or TooLarge names what is wrong."""
    found = decode_params(params, 2, 3)
    start, end = read_bound("start", found[0]), read_bound("end", found[1])
    options = read_options(found[2] if len(found) > 2 else None, _SCAN_OPTIONS)
    reverse, keys_only, meta = (bool(options.get(name, False)) for name in ("reverse", "keys_only", "meta"))
    if "cursor" in options:
        if start is not None or end is not None:
            raise BadRequest("start and end must be nil beside a cursor, which carries them")
        for name in ("reverse", "prefix"):
            if name in options:
                raise BadRequest(f"{name} must be absent beside a cursor, which carries it")
        cursor = decode_cursor(cast("bytes", options["cursor"]))
        start, end, reverse = cursor.start, cursor.end, cursor.reverse
        keys_only = bool(options.get("keys_only", cursor.keys_only))
        meta = bool(options.get("meta", cursor.meta))
    elif "prefix" in options:
        start, end = _intersect(start, end, cast("bytes", options["prefix"]))
    return ScanRequest(
        start,
        end,
        reverse,
        keys_only,
        meta,
        min(cast("int", options.get("limit", LIMIT_MAX)), LIMIT_MAX),
        min(cast("int", options.get("max_bytes", PAGE_BYTES_DEFAULT)), PAGE_BYTES_MAX),
        cast("int", options.get("deadline_ms", 0)),
        cast("int", options.get("stale_ms", 0)),
        cast("tuple[int, int, int] | None", options.get("at")),
    )


def read_count(params: bytes) -> ScanRequest:
    """``[start, end]`` or ``[start, end, options]``; the options are ``deadline_ms``, ``stale_ms`` and ``at``."""
    found = decode_params(params, 2, 3)
    start, end = read_bound("start", found[0]), read_bound("end", found[1])
    options = read_options(found[2] if len(found) > 2 else None, _COUNT_OPTIONS)
    return ScanRequest(
        start,
        end,
        False,
        True,
        False,
        LIMIT_MAX,
        PAGE_BYTES_MAX,
        cast("int", options.get("deadline_ms", 0)),
        cast("int", options.get("stale_ms", 0)),
        cast("tuple[int, int, int] | None", options.get("at")),
    )


def _intersect(start: bytes | None, end: bytes | None, prefix: bytes) -> tuple[bytes | None, bytes | None]:
    """The part of ``[start, end)`` whose keys begin with ``prefix``."""
    read_bound("prefix", prefix)
    first = max(start or b"", prefix)
    stem = prefix.rstrip(b"\xff")
    if stem:
        after = stem[:-1] + bytes((stem[-1] + 1,))
        end = after if end is None else min(end, after)
    return first or None, end
