"""Sizes and durations as people write them: ``64MiB``, ``100ms``."""

import re

from sherd.common.errors import ConfigError

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
_BYTES = {
    "": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def parse_bytes(text: str) -> int:
    """Bytes from ``4096``, ``64MiB``, ``1.5GiB`` or ``10MB``; ConfigError for anything else or a broken byte."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or found[2] not in _BYTES:
        raise ConfigError(f"{text!r} is not a size; write bytes, or a number with KiB, MiB or GiB")
    size = float(found[1]) * _BYTES[found[2]] if "." in found[1] else int(found[1]) * _BYTES[found[2]]
    if size != int(size):
        raise ConfigError(f"{text!r} is not a whole number of bytes")
    return int(size)


def parse_seconds(text: str) -> float:
    """Seconds from ``0.5``, ``100ms``, ``2s``, ``5min`` or ``1h``; ConfigError for anything else."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or (found[2] and found[2] not in _SECONDS):
        raise ConfigError(f"{text!r} is not a duration; write seconds, or a number with us, ms, s, min or h")
    return float(found[1]) * (_SECONDS[found[2]] if found[2] else 1.0)


def format_bytes(size: float) -> str:
    """A size for people: ``512 B``, ``64.0 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def exact_bytes(size: int) -> str:
    """A size that ``parse_bytes`` reads back: in the largest unit that divides it."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)
