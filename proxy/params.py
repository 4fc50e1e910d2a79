"""Decodes and checks the params of the methods off the hot path: scan, count, hello and their like.

They are small, so what is over ``PARAMS_BYTES_MAX`` is refused before it is decoded. Strings come out as bytes.
"""

from collections.abc import Callable, Mapping

import msgpack

from sherd.common.errors import BadRequest, TooLarge
from sherd.common.limits import KEY_BYTES_MAX, KIB
from sherd.common.wire.requests import DEADLINE_MS_MAX, check_at, check_stale_ms

PARAMS_BYTES_MAX = 64 * KIB
BOUND_BYTES_MAX = KEY_BYTES_MAX + 1
"""The first key after the longest key is one byte longer than it."""

Options = dict[str, object]


def decode_params(params: bytes, least: int, most: int) -> list[object]:
    """The params as a list of ``least`` to ``most`` values; maps in it are as ``read_options`` wants them."""
    if len(params) > PARAMS_BYTES_MAX:
        raise TooLarge(f"params of {len(params)} bytes are over the limit of {PARAMS_BYTES_MAX} for this method")
    try:
        found = msgpack.unpackb(
            params, raw=True, strict_map_key=False, object_pairs_hook=_Pairs, ext_hook=_refuse_extension
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BadRequest(f"params can't be decoded: {error}") from error
    if not isinstance(found, list) or isinstance(found, _Pairs):
        raise BadRequest("params must be an array")
    if not least <= len(found) <= most:
        raise BadRequest(f"params must be an array of {least} to {most} items, not {len(found)}")
    return found


def read_options(found: object, known: Mapping[bytes, Callable[[str, object], object]]) -> Options:
    """The options in a decoded map, nil or nothing; each is checked by its reader in ``known``."""
    if found is None:
        return {}
    if not isinstance(found, _Pairs):
        raise BadRequest("options must be a map or nil")
    options: Options = {}
    for key, value in found:
        if not isinstance(key, bytes) or key not in known:
            raise BadRequest(f"unknown option {_shown(key)}")
        name = key.decode()
        if name in options:
            raise BadRequest(f"option {name!r} is given twice")
        options[name] = known[key](name, value)
    return options


def read_bound(name: str, value: object) -> bytes | None:
    """A start, end or prefix: bytes of a key, or None."""
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise BadRequest(f"{name} must be str, bin or nil")
    if len(value) > BOUND_BYTES_MAX:
        raise TooLarge(f"{name} of {len(value)} bytes is over the limit of {KEY_BYTES_MAX}")
    return value


def read_bytes(name: str, value: object) -> bytes:
    """A str or bin."""
    if not isinstance(value, bytes):
        raise BadRequest(f"{name} must be str or bin")
    return value


def read_flag(name: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false")
    return value


def read_positive(name: str, value: object) -> int:
    """An integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest(f"{name} must be an integer of at least 1")
    return value


def read_deadline(name: str, value: object) -> int:
    """Milliseconds."""
    if read_positive(name, value) > DEADLINE_MS_MAX:
        raise BadRequest(f"{name} must be an integer from 1 to {DEADLINE_MS_MAX}")
    return read_positive(name, value)


def read_stale_ms(name: str, value: object) -> int:
    """Milliseconds."""
    return check_stale_ms(value)


def read_at(name: str, value: object) -> tuple[int, int, int]:
    """Shard, term and LSN."""
    return check_at(value)


class _Pairs(list[tuple[object, object]]):
    """A decoded map, its duplicates kept."""


def _refuse_extension(code: int, data: bytes) -> object:
    raise BadRequest("params hold an extension type")


def _shown(key: object) -> str:
    return repr(key[:64].decode(errors="replace")) if isinstance(key, bytes) else "of a type other than str or bin"
