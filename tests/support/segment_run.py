"""Closed log segments for tests, and the tables that jobs make of them."""

from collections.abc import Sequence

from sherd.common.disk import Disk
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import KIND_DELETE, KIND_IMPORT, segment_name, table_name
from sherd.shard.lsm.job_types import CompactResult, FlushResult
from sherd.shard.lsm.manifest import TableMeta
from sherd.shard.lsm.record import RecordBuilder
from sherd.shard.lsm.segment import SegmentWriter, prepare_segment

Op = tuple[bytes, int, int, bytes]
"""Key, kind, expiry in ms, value (ignored for a delete)."""


def write_segment(
    disk: Disk,
    directory: str,
    number: int,
    turns: Sequence[Sequence[Op]],
    first_lsn: int = 1,
    time_ms: int = 5,
    capacity: int = 1 << 20,
) -> tuple[dict[bytes, Entry], int]:
    """Write a segment with a record a turn; returns what it leaves of each key, and its last LSN."""
    path = f"{directory}/{segment_name(number)}"
    prepare_segment(disk, path, number, capacity, 1000 + number)
    writer = SegmentWriter.open(disk, path)
    builder = RecordBuilder(first_lsn)
    expected: dict[bytes, Entry] = {}
    for turn in turns:
        for key, kind, expiry_ms, value in turn:
            if kind == KIND_DELETE:
                expected[key] = Entry(builder.append_delete(key), kind, 0, None)
            elif kind == KIND_IMPORT:
                expected[key] = Entry(builder.append_import(key, value, expiry_ms, 9), kind, expiry_ms, value)
            else:
                expected[key] = Entry(builder.append_put(key, value, expiry_ms), kind, expiry_ms, value)
        writer.append(builder.seal(1, 0, time_ms, writer.salt))
    writer.sync()
    writer.close()
    return expected, builder.next_lsn - 1


def install(
    disk: Disk, directory: str, result: FlushResult | CompactResult, number: int, level: int
) -> tuple[TableMeta, ...]:
    """Give the outputs of a job their names, numbered from ``number``."""
    metas = []
    for i, table in enumerate(result.tables):
        disk.rename(f"{directory}/{table.temporary}", f"{directory}/{table_name(number + i)}")
        metas.append(table.meta(number + i, level))
    disk.sync_dir(directory)
    return tuple(metas)
