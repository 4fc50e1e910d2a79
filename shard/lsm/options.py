"""The engine's settings, checked once at start; each says its effect, unit, default, and what it does to durability."""

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from sherd.common.errors import ConfigError
from sherd.common.limits import KIB, MIB

FsyncMode = Literal["always", "ops", "interval", "os"]

_POLICY: Final = re.compile(r"(always|os)|ops:([0-9]+)|interval:([0-9]+(?:\.[0-9]+)?)(us|ms|s)")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_COMPRESSION: Final = re.compile(r"none|lz4|zstd(?::([0-9]{1,2}))?")


@dataclass(frozen=True, slots=True)
class FsyncPolicy:
    """When the log is made durable, as in the table of the storage page.

    ``ops`` and ``interval_seconds`` belong to their modes and are 0 in the others.
    """

    mode: FsyncMode
    ops: int = 0
    interval_seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "FsyncPolicy":
        """``always``, ``ops:N``, ``interval:T`` with T like ``100ms`` or ``1s``, or ``os``; else ConfigError."""
        found = _POLICY.fullmatch(text)
        if found is None:
            raise ConfigError(f"fsync policy must be always, ops:N, interval:T (like interval:100ms) or os: {text!r}")
        if found[1]:
            return cls("always" if found[1] == "always" else "os")
        if found[2]:
            ops = int(found[2])
            if ops < 1:
                raise ConfigError(f"ops:N needs N of at least 1: {text!r}")
            return cls("ops", ops=ops)
        seconds = float(found[3]) * _SECONDS[found[4]]
        if not 0.001 <= seconds <= 3600:
            raise ConfigError(f"interval must be 1ms to 3600s: {text!r}")
        return cls("interval", interval_seconds=seconds)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Settings of one engine. Sizes are bytes unless the name says otherwise."""

    memtable_bytes: int = 64 * MIB
    """Memory of one memtable before it freezes and the log rolls. Three of them exist at worst, of small ones
    more, up to 24 MiB together. More means fewer, larger flushes, and a longer replay after a crash. The log segment
    has the same size, taken in advance."""
    cache_bytes: int = 64 * MIB
    """Decoded table blocks kept in memory."""
    block_bytes: int = 16 * KIB
    """Raw size of a table's data block: the unit of reading, caching, compression and checksum."""
    compression: str = "lz4"
    """``lz4``, ``zstd``, ``zstd:LEVEL`` (1 to 19) or ``none``; for tables written from now on."""
    bloom_bits_per_key: int = 10
    """Filter bits; 10 lets about 1 % of the reads of absent keys through to a block. 0 writes no filter."""
    table_bytes: int = 32 * MIB
    """Raw size at which a compaction closes a table and starts the next."""
    level0_tables_compact: int = 8
    """Tables in level 0 that start a compaction. Each of them may have to be looked at by a get."""
    level0_tables_slow: int = 16
    """Tables in level 0 from which on acknowledgements are delayed."""
    level0_tables_stop: int = 32
    """Tables in level 0 at which writes are refused with OVERLOADED."""
    level_base_bytes: int = 512 * MIB
    """Largest size of the uppermost level that level 0 is compacted into."""
    level_size_multiplier: int = 8
    """How many times larger each level is than the one above: more means fewer levels and dearer compactions."""
    pending_bytes_slow: int = 4 * 1024 * MIB
    """Bytes that compaction is behind from which on acknowledgements are delayed."""
    pending_bytes_stop: int = 16 * 1024 * MIB
    """Bytes that compaction is behind at which writes are refused with OVERLOADED."""
    fsync: str = field(default="interval:100ms", metadata={"durability": True})
    """When the log is made durable: ``always``, ``ops:N``, ``interval:T`` or ``os``. Decides what a power cut loses."""
    retain_log_bytes: int = 512 * MIB
    """Log kept for followers that are behind, at most; one that is further behind copies the tables anew."""
    open_files_max: int = 1000
    """Table files held open; others are closed and opened again when read."""
    value_separation_bytes: int = 64 * KIB
    """Reserved: values above this size are to be kept out of the merge path. No effect yet."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        if not self.level0_tables_compact <= self.level0_tables_slow < self.level0_tables_stop:
            raise ConfigError("level0_tables_compact, _slow and _stop must rise in this order")
        if not self.pending_bytes_slow < self.pending_bytes_stop:
            raise ConfigError("pending_bytes_slow must be less than pending_bytes_stop")
        found = _COMPRESSION.fullmatch(self.compression)
        if found is None or (found[1] is not None and not 1 <= int(found[1]) <= 19):
            raise ConfigError(f"compression must be lz4, zstd, zstd:1 to zstd:19 or none, not {self.compression!r}")
        FsyncPolicy.parse(self.fsync)

    @property
    def fsync_policy(self) -> FsyncPolicy:
        """The parsed ``fsync``."""
        return FsyncPolicy.parse(self.fsync)


_RANGES: Final = (
    ("memtable_bytes", 16 * KIB, 4096 * MIB),
    ("cache_bytes", 0, 1 << 40),
    ("block_bytes", 512, 4 * MIB),
    ("bloom_bits_per_key", 0, 32),
    ("table_bytes", 4 * KIB, 4096 * MIB),
    ("level0_tables_compact", 1, 1000),
    ("level0_tables_slow", 1, 10_000),
    ("level0_tables_stop", 2, 100_000),
    ("level_base_bytes", 4 * KIB, 1 << 40),
    ("level_size_multiplier", 2, 100),
    ("pending_bytes_slow", 4 * KIB, 1 << 50),
    ("pending_bytes_stop", 4 * KIB, 1 << 50),
    ("retain_log_bytes", 0, 1 << 50),
    ("open_files_max", 4, 1_000_000),
    ("value_separation_bytes", 1 * KIB, 64 * MIB),
)

DEFAULTS: Final = EngineOptions()
