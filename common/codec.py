"""How keys and values of Python become those of the wire and of a Store, and back.

Keys: ``str`` (sent as UTF-8) or bytes-like, 1 byte to 4 KiB; they come back as ``bytes``, or decoded where the client
was given a ``key_encoding``. Bytes that are not valid in that encoding come back with surrogate escapes, and such a
key reaches the same entry when it is handed in again.

Values: any MessagePack value but nil travels as itself. An ``Encoder`` replaces that: its bytes travel as ``bin``, and
a stored value that is not ``bin`` was not written by it and is returned as it is. A MessagePack ``str`` that is not
valid UTF-8 (other writers may store such) comes back with surrogate escapes, and is written back as the same bytes.
"""

import codecs
import json
from typing import Any, Protocol, TypeAlias

from sherd.common.errors import BadRequest, ConfigError, TooLarge
from sherd.common.limits import KEY_BYTES_MAX

Key: TypeAlias = str | bytes | bytearray | memoryview
"""A key as callers may write it."""

ReturnedKey: TypeAlias = Any
"""A key as it comes back: ``bytes``, or ``str`` where the client has a ``key_encoding``."""

Value: TypeAlias = Any
"""Any MessagePack value but nil, or whatever the client's encoder takes."""


class Encoder(Protocol):
    """Replaces MessagePack as the form of values. Must be safe to call from several threads."""

    def encode(self, value: Any, /) -> bytes:
        """The value as bytes; may raise what it likes, nothing is sent then."""
        ...

    def decode(self, data: bytes, /) -> Any:
        """The value that ``encode`` made the bytes from; what it raises reaches the caller of that read alone."""
        ...


class JsonEncoder:
    """Values as UTF-8 JSON, readable to programs that know nothing of MessagePack."""

    __slots__ = ()

    def encode(self, value: Any, /) -> bytes:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    def decode(self, data: bytes, /) -> Any:
        return json.loads(data)


class Codec:
    """The keys and values of one client. ``key_encoding`` None: keys come back as bytes."""

    __slots__ = ("_encoder", "_key_encoding")

    def __init__(self, key_encoding: str | None = None, encoder: Encoder | None = None) -> None:
        if key_encoding is not None:
            try:
                key_encoding = codecs.lookup(key_encoding).name
            except LookupError:
                raise ConfigError(f"key_encoding {key_encoding!r} is not known to Python") from None
        self._key_encoding = key_encoding
        self._encoder = encoder

    def key(self, key: Key) -> bytes:
        """The key's bytes; BadRequest if it is empty or no text, TooLarge over 4 KiB, TypeError for other types."""
        if isinstance(key, str):
            data = self._encoded(key)
        elif isinstance(key, bytes):
            data = key
        elif isinstance(key, (bytearray, memoryview)):
            data = bytes(key)
        else:
            raise TypeError(f"a key is str or bytes, not {type(key).__name__}")
        if not data:
            raise BadRequest("key is empty; it needs at least 1 byte")
        if len(data) > KEY_BYTES_MAX:
            raise TooLarge(f"key of {len(data)} bytes is over the limit of {KEY_BYTES_MAX} bytes")
        return data

    def bound(self, bound: Key | None) -> bytes | None:
        """A bound of a range, or a prefix: a key that may be empty, which is the same as none."""
        return self.key(bound) if bound is not None and len(bound) else None

    def value(self, value: Value) -> Any:
        """What is packed for the value; BadRequest for None, which the store keeps for "no such key"."""
        if value is None:
            raise BadRequest("value is None; use delete to remove a key")
        return value if self._encoder is None else self._encoder.encode(value)

    def read_key(self, data: bytes) -> ReturnedKey:
        """A key that came over the wire."""
        return data if self._key_encoding is None else data.decode(self._key_encoding, "surrogateescape")

    def read_value(self, value: Any) -> Value:
        """A value that came over the wire; not for nil."""
        return self._encoder.decode(value) if self._encoder is not None and isinstance(value, bytes) else value

    def _encoded(self, key: str) -> bytes:
        try:
            return key.encode(self._key_encoding or "utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise BadRequest(f"key {key!r} has no form in {error.encoding}: {error.reason}") from None
