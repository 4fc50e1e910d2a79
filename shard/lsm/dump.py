"""A log segment, table or MANIFEST as lines of text, for people who want to know what is in a file.

Reads only, and goes as far as the file lets it: of a damaged segment everything up to the damage, then the verdict and
the headers behind it. Keys and values are shown as Python bytes literals, cut off where they are long.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreFormat
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.format import (
    KIND_DELETE,
    KIND_IMPORT,
    KIND_PUT,
    MAGIC_BYTES,
    MANIFEST_BYTES_MAX,
    MANIFEST_MAGIC,
    MANIFEST_NAME,
    RECORD_CLOSE,
    RECORD_JUMP,
    RECORD_TERM,
    SEGMENT_MAGIC,
    SEGMENT_SUFFIX,
    TABLE_MAGIC,
    TABLE_SUFFIX,
)
from sherd.shard.lsm.manifest import decode_manifest
from sherd.shard.lsm.record_body import decode_body
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.segment_scan import RecordHeader
from sherd.shard.lsm.table import Table

SHOWN_BYTES: Final = 64
_KINDS: Final = {KIND_PUT: "put", KIND_DELETE: "delete", KIND_IMPORT: "import"}
_FLAGS: Final = {RECORD_TERM: "term", RECORD_CLOSE: "close", RECORD_JUMP: "jump"}


def dump_lines(disk: Disk, path: str, *, shown_bytes: int = SHOWN_BYTES) -> Iterator[str]:
    """The file at ``path``, line by line; keys and values up to ``shown_bytes`` bytes each.

    The kind of file is told by its magic number, or by its name where that is damaged. Raises StoreFormat if it is none
    of Sherd's or of another version, StoreCorrupt or Corruption where damage ends what can be shown, OSError.
    """
    file = disk.open_read(path)
    try:
        magic = file.pread(MAGIC_BYTES, 0)
    finally:
        file.close()
    name = path.rpartition("/")[2]
    if magic == SEGMENT_MAGIC or name.endswith(SEGMENT_SUFFIX):
        return _segment_lines(disk, path, shown_bytes)
    if magic == TABLE_MAGIC or name.endswith(TABLE_SUFFIX):
        return _table_lines(disk, path, shown_bytes)
    if magic == MANIFEST_MAGIC or name == MANIFEST_NAME:
        return _manifest_lines(disk, path)
    raise StoreFormat(f"{path} is neither a log segment nor a table nor a MANIFEST of Sherd")


def _shown(data: bytes, limit: int) -> str:
    if len(data) <= limit:
        return repr(data)
    return f"{data[:limit]!r}... ({len(data)} bytes)"


def _entry_line(lsn: int, kind: int, key: bytes, expiry_ms: int, value: bytes | None, limit: int) -> str:
    line = f"  lsn={lsn} {_KINDS.get(kind, kind)} key={_shown(key, limit)}"
    if expiry_ms:
        line += f" expiry_ms={expiry_ms}"
    if value is not None:
        line += f" value={_shown(value, limit)}"
    return line


def _header_line(offset: int, header: RecordHeader) -> str:
    flags = "".join(f" {name}" for bit, name in _FLAGS.items() if header.flags & bit)
    return (
        f"@{offset} record{flags} first_lsn={header.first_lsn} last_lsn={header.last_lsn} synced={header.synced} "
        f"body_bytes={header.body_bytes}"
    )


def _segment_lines(disk: Disk, path: str, limit: int) -> Iterator[str]:
    with SegmentReader.open(disk, path) as reader:
        header = reader.header
        yield f"segment number={header.number} salt={header.salt:#018x} file_bytes={reader.file_bytes}"
        for offset, record, data in reader.records():
            try:
                body = decode_body(data)
            except Corruption as error:
                yield f"{_header_line(offset, record)} malformed: {error.message}"
                continue
            yield f"{_header_line(offset, record)} term={body.term} time_ms={body.time_ms}"
            for lsn, op in enumerate(body.ops, body.first_lsn):
                moved = f" version={op.version}" if op.kind == KIND_IMPORT else ""
                yield _entry_line(lsn, op.kind, op.key, op.expiry_ms, op.value, limit) + moved
        verdict = reader.verdict
        if verdict is None:
            raise RuntimeError("a segment was not read to its end")
        yield f"@{verdict.offset} {verdict.reason.value} next_lsn={verdict.missing_lsn} used_bytes={verdict.used_bytes}"
        if verdict.next_valid is not None:
            yield f"headers that verify behind it, synced up to {verdict.synced_max}:"
            for offset, record in reader.headers(verdict.next_valid):
                yield _header_line(offset, record)


def _table_lines(disk: Disk, path: str, limit: int) -> Iterator[str]:
    table = Table.open(disk, path, 0, BlockCache(0))
    try:
        yield "table"
        for name, known in table.properties.to_wire().items():
            yield f"  {name}={_shown(known, limit) if isinstance(known, bytes) else known}"
        cursor = table.cursor(fill_cache=False)
        cursor.seek_first()
        while cursor.valid:
            value = None if cursor.kind == KIND_DELETE else cursor.value()
            yield _entry_line(cursor.lsn, cursor.kind, cursor.key, cursor.expiry_ms, value, limit)
            cursor.next()
    finally:
        table.close()


def _manifest_lines(disk: Disk, path: str) -> Iterator[str]:
    file = disk.open_read(path)
    try:
        manifest = decode_manifest(file.pread(min(file.size(), 2 * MANIFEST_BYTES_MAX), 0), path)
    finally:
        file.close()
    yield f"manifest store_id={manifest.store_id.hex()}"
    for name in ("next_file", "first_segment", "kept_segment", "flushed_lsn", "logged_ms", "clean_lsn"):
        yield f"  {name}={getattr(manifest, name)}"
    if manifest.owner:
        yield f"  owner={manifest.owner} partial={manifest.partial}"
    for term, lsn in manifest.terms:
        yield f"  term={term} first_lsn={lsn}"
    for drop in manifest.drops:
        yield f"  drop partition={drop.partition} below_lsn={drop.lsn}"
    for table in manifest.tables:
        yield "  table " + " ".join(f"{name}={value!r}" for name, value in asdict(table).items())
