"""Values that prove themselves: whoever knows a value's key and version knows its every byte.

A value is ``{"version": n, "data": bytes}``, its data drawn from the key and the version by SHAKE-128 (FIPS 202). So a
reader that never wrote the key still notices a value of another key, a torn one, or a changed byte.
"""

import hashlib
from typing import Any

DATA_BYTES_MIN = 64
DATA_BYTES_SPREAD = 448


class BrokenAnswer(Exception):
    """The store answered, and the answer is wrong. The message names the key, what was found and what was due."""


def value_of(key: str, version: int) -> dict[str, Any]:
    """The value that ``key`` has in ``version``: 64 to 511 bytes of data."""
    stream = hashlib.shake_128(f"{key}\0{version}".encode())
    length = DATA_BYTES_MIN + int.from_bytes(stream.digest(2), "big") % DATA_BYTES_SPREAD
    return {"version": version, "data": stream.digest(length)}


def version_of(key: str, value: object) -> int:
    """The version of a value read from ``key``; BrokenAnswer unless it is one that ``value_of`` makes."""
    version = value.get("version") if isinstance(value, dict) else None
    if type(version) is not int or value != value_of(key, version):
        raise BrokenAnswer(f"{key}: {shown(value)} is no value that was ever written there")
    return version


def due(key: str, what: str, found: object, wanted: object) -> None:
    """BrokenAnswer unless ``found`` equals ``wanted``; ``what`` says what of ``key`` it is."""
    if found != wanted:
        raise BrokenAnswer(f"{key}: {what} is {shown(found)} instead of {shown(wanted)}")


def shown(found: object) -> str:
    """``found`` short enough for a line of locust's report."""
    text = repr(found)
    return text if len(text) <= 80 else text[:77] + "..."
