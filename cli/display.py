"""Values as JSON for people. ``json_lines`` is the exact form; this one shows what JSON can't say as best it can."""

import base64
import json
from typing import Any, NoReturn

import msgpack

from sherd.common.errors import BadRequest


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON: bin as base64, ext as its type and base64, keys of maps as text."""
    return json.dumps(_jsonable(value), ensure_ascii=False, indent=indent)


def parse_json(text: bytes) -> Any:
    """The value of JSON that a user typed; BadRequest if it is none, or null."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the value is not JSON: {error}") from error
    if value is None:
        raise BadRequest("the value is null; use `sherd delete` to remove a key")
    return value


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _key_text(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, msgpack.ExtType):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, msgpack.ExtType):
        return {"ext": value.code, "data_b64": base64.b64encode(value.data).decode()}
    if isinstance(value, msgpack.Timestamp):
        return value.to_datetime().isoformat()
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return value


def _key_text(key: Any) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else json.dumps(_jsonable(key))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
