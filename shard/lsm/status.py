"""What an engine tells about itself: counters of its life, and the state now."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sherd.common.errors import Corruption, StoreCorrupt
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.quarantine import quarantined

if TYPE_CHECKING:
    from sherd.shard.lsm.engine import Engine

DAMAGED_TOLD_MAX = 10
"""Damaged places that the status names."""


@dataclass(slots=True)
class Counters:
    """Since the engine was opened."""

    cut_bytes: int = 0
    """Of the log, moved to quarantine at the start."""
    flushes: int = 0
    flush_bytes: int = 0
    compactions: int = 0
    compaction_read_bytes: int = 0
    compaction_write_bytes: int = 0
    jobs_failed: int = 0
    last_job_error: str = ""
    corrupt_reads: int = 0
    """Jobs that met damaged data."""

    def flushed(self, written_bytes: int) -> None:
        self.flushes += 1
        self.flush_bytes += written_bytes

    def compacted(self, read_bytes: int, written_bytes: int) -> None:
        self.compactions += 1
        self.compaction_read_bytes += read_bytes
        self.compaction_write_bytes += written_bytes

    def job_failed(self, error: Exception) -> None:
        self.jobs_failed += 1
        self.last_job_error = f"{type(error).__name__}: {error}"
        if isinstance(error, (Corruption, StoreCorrupt)):
            self.corrupt_reads += 1


def status(engine: "Engine", active: Memtable) -> dict[str, object]:
    """MessagePack-able. ``keys_estimate`` counts a key once in each place it stands in, less its tombstones."""
    counters, damage = engine.counters, engine.installer.damage
    metas = engine.installer.version.metas()
    tables = [table for level in metas for table in level]
    memtables = [active, *(frozen.memtable for frozen in engine.upkeep.waiting)]
    keys = sum(table.entries - 2 * table.tombstones for table in tables)
    keys += sum(len(memtable) - 2 * memtable.tombstones for memtable in memtables)
    saved = quarantined(engine.disk, engine.directory)
    log_bytes = engine.log_bytes
    written = counters.flush_bytes + counters.compaction_write_bytes
    return {
        "term": engine.term,
        "keys_estimate": max(keys, 0),
        "bytes": sum(table.bytes for table in tables),
        "memtable_bytes": sum(memtable.memory_bytes for memtable in memtables),
        "memtables_frozen": len(memtables) - 1,
        "tables": len(tables),
        "levels": [{"tables": len(level), "bytes": sum(table.bytes for table in level)} for level in metas],
        "write_amplification": round((log_bytes + written) / log_bytes, 3) if log_bytes else 0.0,
        "pending_compaction_bytes": engine.upkeep.pending_bytes,
        "cache_bytes": engine.installer.blocks.bytes_held,
        "last_lsn": engine.last_lsn,
        "written_lsn": engine.written_lsn,
        "synced_lsn": engine.synced_lsn,
        "flushed_lsn": engine.installer.manifest.flushed_lsn,
        "log_bytes_written": log_bytes,
        "flushes": counters.flushes,
        "flush_bytes": counters.flush_bytes,
        "compactions": counters.compactions,
        "compaction_read_bytes": counters.compaction_read_bytes,
        "compaction_write_bytes": counters.compaction_write_bytes,
        "jobs_failed": counters.jobs_failed,
        "last_job_error": counters.last_job_error,
        "last_job_failed_seconds_ago": engine.upkeep.failed_seconds_ago,
        "jobs_failing": engine.upkeep.failing,
        "corrupt": engine.damaged,
        "damaged": damage.places[:DAMAGED_TOLD_MAX],
        "quarantined": len(saved),
        "quarantined_names": list(saved),
        "cut_bytes": counters.cut_bytes,
        "poisoned": engine.poisoned,
    }
