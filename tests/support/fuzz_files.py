"""Fuzz targets of the files: records, blocks, filters, tables and manifests.

Checksums would keep almost every changed input from the code behind them. So the targets seal the changed part anew
where that is possible: what they look for is a decoder that believes its input because a checksum matched.
"""

from dataclasses import replace

from xxhash import xxh3_64_intdigest

from sherd.common.errors import Corruption, StoreCorrupt, StoreFormat
from sherd.shard.lsm.block import Block
from sherd.shard.lsm.block_frame import BlockDecoder, BlockEncoder
from sherd.shard.lsm.bloom import build_filter, check_filter, filter_passes, hash_key
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.format import BLOCK_TRAILER_BYTES, KIND_DELETE, KIND_PUT
from sherd.shard.lsm.manifest import Manifest, TableMeta, decode_manifest
from sherd.shard.lsm.record import RecordBuilder, empty_record, frame_body, term_record
from sherd.shard.lsm.record_body import decode_body
from sherd.shard.lsm.segment_scan import MORE, RECORD, RecordScanner, find_header
from sherd.shard.lsm.table import Table
from sherd.shard.lsm.table_writer import TableOptions, TableWriter
from support.crash_disk import CrashDisk
from support.mutation import Target

SALT = 0x5A17
U64 = (1 << 64) - 1


def sealed(data: bytes) -> bytes:
    """``data`` and its checksum."""
    return data + xxh3_64_intdigest(data).to_bytes(8, "little")


# -- records ---------------------------------------------------------------------------------------------------------


def sample_records() -> bytes:
    builder = RecordBuilder(1 << 32)
    builder.append_put(b"key", b"value", 0)
    builder.append_put(b"key2", b"v" * 300, 123456789)
    builder.append_delete(b"gone")
    builder.append_import(b"moved", b"", 5, 77)
    return builder.seal(3, 1, 1000, SALT)


def body_answer(data: bytes) -> object:
    """The operations of a body, or Corruption."""
    try:
        body = decode_body(data)
    except Corruption as error:
        return str(error)
    assert sum(len(op.key) + len(op.value or b"") for op in body.ops) <= len(data)
    return [op.kind for op in body.ops]


def records_answer(data: bytes) -> object:
    """What a scanner finds in a segment's bytes, the same in one chunk and in small ones."""
    whole = walk_records(data, len(data))
    assert walk_records(data, 64) == whole
    found = find_header(data, 0, SALT)
    assert found == -1 or 0 <= found <= len(data) - 48
    return whole, found >= 0


def walk_records(data: bytes, chunk_bytes: int) -> list[object]:
    scanner = RecordScanner(SALT, 0, len(data), 0)
    scanner.feed(data[:chunk_bytes])
    answers: list[object] = []
    while True:
        found = scanner.next()
        if found == MORE:
            position = scanner.position
            scanner.feed(data[position : position + max(scanner.needed, chunk_bytes)])
            continue
        answers.append(found)
        if found != RECORD:
            return answers
        answers.append(body_answer(scanner.body))


def framed_answer(data: bytes) -> object:
    """Any bytes as the body of a record whose checksums hold."""
    record = frame_body(data, 0, 1 << 32, (1 << 32) + 3, 1, SALT)
    return records_answer(record)


# -- blocks and filters ----------------------------------------------------------------------------------------------


def block_answer(data: bytes) -> object:
    """All entries of a block, forwards and by key, or ValueError."""
    try:
        block = Block(data)
    except ValueError as error:
        return error
    cursor = Cursor()
    kinds = []
    for i in range(block.count):
        block.show(i, cursor)
        assert 0 <= cursor.value_at <= cursor.value_at + cursor.value_len <= len(data)
        block.find(cursor.key)
        assert 0 <= block.search(cursor.key) <= block.count
        kinds.append((cursor.kind, cursor.expiry_ms > 0, len(cursor.value()) > 0))
    return kinds[:6]


def frame_answer(data: bytes) -> object:
    """Stored bytes with a checksum that holds and any compression, decoded to at most what was announced."""
    answers: list[object] = []
    for kind in range(4):
        checked = data + bytes((kind,))
        stored = checked + xxh3_64_intdigest(checked, SALT ^ 32).to_bytes(8, "little")
        try:
            answers.append(len(BlockDecoder().decode(stored, 1000, SALT, 32, "table")))
        except Corruption as error:
            answers.append(error)
    return answers


def sample_filter(keys: int, bits_per_key: int) -> bytes:
    return build_filter(b"".join(hash_key(b"%d" % i).to_bytes(8, "little") for i in range(keys)), bits_per_key)


def filter_answer(data: bytes) -> object:
    """A filter's word on any key, or ValueError."""
    try:
        check_filter(data)
    except ValueError as error:
        return error
    return [filter_passes(data, key_hash) for key_hash in (0, 1, U64, hash_key(b"k"), 0xFFFFFFFF00000000)]


# -- tables ----------------------------------------------------------------------------------------------------------


def sample_table(compression: str) -> bytes:
    disk = CrashDisk()
    disk.mkdir("/d")
    file = disk.create("/d/t")
    writer = TableWriter(file, TableOptions(block_bytes=128, compression=compression), SALT)
    for i in range(24):
        if i % 5 == 4:
            writer.add(b"key%03d" % i, 100 + i, KIND_DELETE, 0, b"")
        else:
            writer.add(b"key%03d" % i, 100 + i, KIND_PUT, 1000 * (i % 3 == 0), b"value" * (i % 7))
    writer.finish()
    file.close()
    return disk.read("/d/t")


PLAIN_TABLE = sample_table("none")


def stored_blocks(table: bytes) -> list[tuple[int, int]]:
    """Offset and size with trailer of every stored block, found by their checksums."""
    found = []
    offset, size = 32, BLOCK_TRAILER_BYTES
    while offset + size <= len(table):
        checked = table[offset : offset + size - 8]
        if table[offset + size - 8 : offset + size] == xxh3_64_intdigest(checked, SALT ^ offset).to_bytes(8, "little"):
            found.append((offset, size))
            offset, size = offset + size, BLOCK_TRAILER_BYTES
        else:
            size += 1
    return found


TABLE_BLOCKS = stored_blocks(PLAIN_TABLE)


def table_answer(table: bytes) -> object:
    """Everything that can be read from a table's bytes, or the errors for a damaged one."""
    disk = CrashDisk()
    disk.mkdir("/d")
    disk.create("/d/t").close()
    disk.replace("/d/t", table)
    answers: list[object] = []
    try:
        reader = Table.open(disk, "/d/t", 1, BlockCache(1 << 20))
    except (Corruption, StoreCorrupt, StoreFormat) as error:
        return error
    for step in (reader.verify, lambda: walk_table(reader), lambda: reader.get(b"key003", hash_key(b"key003"))):
        try:
            answers.append(step() is None)
        except (Corruption, StoreCorrupt, StoreFormat) as error:
            answers.append(error)
    reader.close()
    return answers


def walk_table(table: Table) -> None:
    cursor = table.cursor()
    cursor.seek_first()
    for _ in range(2000):
        if not cursor.valid:
            break
        cursor.value()
        cursor.next()
    cursor.seek_last()
    for _ in range(2000):
        if not cursor.valid:
            break
        cursor.prev()
    for key in (b"", b"key010", b"key0105", b"\xff"):
        cursor.seek(key)
        cursor.seek_before(key)


def resealed_table_answer(data: bytes) -> object:
    """``data``: the number of a stored block, then its bytes to be. Its checksum is made to hold."""
    offset, size = TABLE_BLOCKS[data[0] % len(TABLE_BLOCKS)] if data else TABLE_BLOCKS[0]
    room = size - BLOCK_TRAILER_BYTES
    checked = data[1 : 1 + room].ljust(room, b"\0") + b"\0"
    stored = checked + xxh3_64_intdigest(checked, SALT ^ offset).to_bytes(8, "little")
    return table_answer(PLAIN_TABLE[:offset] + stored + PLAIN_TABLE[offset + size :])


def block_seeds() -> tuple[bytes, ...]:
    blocks = [PLAIN_TABLE[offset : offset + size - BLOCK_TRAILER_BYTES] for offset, size in TABLE_BLOCKS]
    return tuple(bytes((i,)) + block for i, block in enumerate(blocks))


# -- manifests -------------------------------------------------------------------------------------------------------


def sample_manifest() -> bytes:
    manifest = Manifest(
        store_id=bytes(16),
        next_file=9,
        tables=(),
        first_segment=3,
        kept_segment=2,
        flushed_lsn=50,
        logged_ms=5,
        terms=((1, 1), (2, 1 << 32)),
        clean_lsn=None,
        drops=(),
    )
    shared = {"bytes": 1000, "entries": 9, "tombstones": 1, "expiring": 0, "min_lsn": 1, "max_lsn": 50}
    tables = (
        TableMeta(number=4, level=0, smallest=b"a", largest=b"z", **shared),
        TableMeta(number=5, level=1, smallest=b"a", largest=b"k", **shared),
        TableMeta(number=6, level=1, smallest=b"l", largest=b"z", **shared),
    )
    return replace(manifest, tables=tables).encode()


def manifest_answer(data: bytes) -> object:
    """A manifest that can be written again as it was read, or an error."""
    try:
        manifest = decode_manifest(data, "MANIFEST")
    except (StoreCorrupt, StoreFormat) as error:
        return error
    assert decode_manifest(manifest.encode(), "MANIFEST") == manifest
    return len(manifest.tables), len(manifest.terms), manifest.clean_lsn is None


def resealed_manifest_answer(body: bytes) -> object:
    """``body`` in a manifest whose length and checksum hold."""
    return manifest_answer(sealed(MANIFEST[:12] + len(body).to_bytes(4, "little") + body))


RECORDS = sample_records()
MANIFEST = sample_manifest()
PLAIN_BLOCKS = tuple(seed[1:] for seed in block_seeds())
COMPRESSED = tuple(
    BlockEncoder(name).encode(b"key value " * 100, SALT, 32)[:-BLOCK_TRAILER_BYTES] for name in ("lz4", "zstd", "none")
)

TARGETS = (
    Target("record body", (RECORDS[48:-16], RECORDS[48:]), body_answer),
    Target(
        "records of a segment",
        (RECORDS, RECORDS + empty_record(3, (1 << 32) + 4, 1, 1, SALT), term_record(4, 2 << 32, 1, 1, SALT)),
        records_answer,
    ),
    Target("record with a checksum that holds", (RECORDS[48:],), framed_answer),
    Target("block", PLAIN_BLOCKS, block_answer),
    Target("stored block with a checksum that holds", COMPRESSED, frame_answer),
    Target("filter", (sample_filter(1, 10), sample_filter(50, 20)), filter_answer),
    Target("table", (PLAIN_TABLE, sample_table("lz4"), sample_table("zstd")), table_answer),
    Target("table with checksums that hold", block_seeds(), resealed_table_answer),
    Target("manifest", (MANIFEST,), manifest_answer),
    Target("manifest with a checksum that holds", (MANIFEST[16:-8],), resealed_manifest_answer),
)
