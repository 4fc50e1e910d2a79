"""Entries as JSON Lines: what ``export`` and ``scan`` print and ``import`` reads, byte for byte.

One JSON object a line, with one field of each row:

    key                 the key, if it is UTF-8
    key_b64             the key in base64, if it is not
    value               the value as JSON, if reading it back gives the same MessagePack bytes
    value_b64           the payload of a bin value, in base64
    value_msgpack_b64   the MessagePack bytes of any other value, in base64

MessagePack knows values that JSON does not (bin, ext, NaN, keys of a map that are no strings) and several encodings
of one value; those travel as they are stored, in the last form.
"""

import base64
import binascii
import json
from typing import Any, NoReturn

import msgpack

from sherd.common.errors import SherdError
from sherd.common.limits import KEY_BYTES_MAX, VALUE_NESTING_MAX
from sherd.common.wire.primitives import value_end

FIELDS = ("key", "key_b64", "value", "value_b64", "value_msgpack_b64")

Row = tuple[bytes, bytes]
"""A key, and its value as MessagePack bytes."""


class BadLine(SherdError):
    """A line that is no entry; the message says why."""


def encode_line(row: Row) -> str:
    """The line of an entry, without its newline."""
    key, value = row
    try:
        fields: dict[str, Any] = {"key": key.decode()}
    except UnicodeDecodeError:
        fields = {"key_b64": _b64(key)}
    name, shown = _value_field(value)
    fields[name] = shown
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def decode_line(line: bytes) -> Row:
    """The entry of a line; BadLine if it has none."""
    try:
        fields = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadLine("not a JSON object")
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise BadLine(f"unknown field {unknown[0]!r}")
    return _read_key(fields), _read_value(fields)


def _read_key(fields: dict[str, Any]) -> bytes:
    name = _one_of(fields, ("key", "key_b64"))
    if not isinstance(fields[name], str):
        raise BadLine(f"{name} is not a string")
    try:
        key = fields[name].encode() if name == "key" else _unb64(fields, name)
    except UnicodeEncodeError as error:
        raise BadLine("key holds half of a surrogate pair") from error
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise BadLine(f"the key has {len(key)} bytes; it needs 1 to {KEY_BYTES_MAX}")
    return key


def _read_value(fields: dict[str, Any]) -> bytes:
    name = _one_of(fields, ("value", "value_b64", "value_msgpack_b64"))
    if name == "value_b64":
        return _packed(_unb64(fields, name))
    if name == "value":
        if fields[name] is None:
            raise BadLine("value is null; the store keeps that for keys that are not there")
        return _packed(fields[name])
    value = _unb64(fields, name)
    if value_end(value, 0, VALUE_NESTING_MAX) != len(value):
        raise BadLine(f"{name} is not exactly one MessagePack value")
    if value == b"\xc0":
        raise BadLine("value is nil; the store keeps that for keys that are not there")
    return value


def _value_field(value: bytes) -> tuple[str, Any]:
    """The field that brings the value back exactly, and what stands in it."""
    try:
        found = msgpack.unpackb(value, strict_map_key=False)
        if isinstance(found, bytes):
            if msgpack.packb(found) == value:
                return "value_b64", _b64(found)
        elif msgpack.packb(json.loads(json.dumps(found, allow_nan=False))) == value:
            return "value", found
    except (ValueError, TypeError, OverflowError, RecursionError):
        # Not JSON, or not text: the form below takes everything.
        return "value_msgpack_b64", _b64(value)
    return "value_msgpack_b64", _b64(value)


def _packed(value: object) -> bytes:
    try:
        packed: bytes = msgpack.packb(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadLine(f"the value has no MessagePack form: {error}") from error
    return packed


def _one_of(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    found = [name for name in names if name in fields]
    if len(found) != 1:
        raise BadLine(f"{' and '.join(found)} exclude each other" if found else f"no {' or '.join(names)}")
    return found[0]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(fields: dict[str, Any], name: str) -> bytes:
    text = fields[name]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadLine(f"{name} is not base64") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
