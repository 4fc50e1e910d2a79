"""Writes one sorted table: entries in ascending order in, a synced immutable file out. Layout: FORMAT.md, "Table".

Invariants: ``_offset`` is the size of the file so far, bytes waiting in ``_unwritten`` included; the file is complete
only after ``finish``, whose last write is the footer. The writer never closes, renames or removes the file.
"""

from dataclasses import dataclass, replace
from typing import Self

import cython
from xxhash import xxh3_64_intdigest

from sherd.common.disk import File
from sherd.shard.lsm.block_frame import BlockEncoder
from sherd.shard.lsm.bloom import build_filter
from sherd.shard.lsm.format import BLOCK_TRAILER_BYTES, TABLE_FOOTER_BYTES
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.pauses import Pauses
from sherd.shard.lsm.table_layout import HANDLE, Footer, Handle, TableProperties, encode_header

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.block_builder import BlockBuilder, store
    from cython.cimports.sherd.shard.lsm.cursor import Cursor, compare_keys
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE, KIND_IMPORT, KIND_PUT
else:
    from sherd.shard.lsm.block_builder import BlockBuilder, store
    from sherd.shard.lsm.cursor import Cursor, compare_keys
    from sherd.shard.lsm.format import KIND_DELETE, KIND_IMPORT, KIND_PUT

_WRITE_BYTES = 1 << 20  # gathered before they are written


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How tables are written; the fields are those of ``EngineOptions``."""

    block_bytes: int = 16 << 10
    compression: str = "lz4"
    bloom_bits_per_key: int = 10

    @classmethod
    def of(cls, options: EngineOptions) -> Self:
        """The part of the engine's options that tables are written by."""
        return cls(options.block_bytes, options.compression, options.bloom_bits_per_key)


@cython.final
@cython.cclass
class TableWriter:
    """Writes to ``file``, which is new and empty. ``salt`` (u64) seeds its checksums: each file has its own.

    ``entries`` counts what was added, ``raw_bytes`` its keys and values.
    """

    def __init__(self, file: File, options: TableOptions, salt: int) -> None:
        self._file = file
        self._encoder = BlockEncoder(options.compression)
        self._block_bytes = options.block_bytes
        self._bits_per_key = options.bloom_bits_per_key
        self._block = BlockBuilder()
        self._index = BlockBuilder()
        self._key_hashes = bytearray(1024)
        self._unwritten = bytearray(encode_header(salt))
        self._offset = len(self._unwritten)
        self._done = False
        self._salt = salt
        self._smallest = b""
        self._largest = b""
        self.entries = 0
        self._tombstones = 0
        self._imports = 0
        self._expiring = 0
        self._blocks = 0
        self._min_lsn = 0
        self._max_lsn = 0
        self.raw_bytes = 0
        self._raw_block_bytes = 0

    @property
    def size_bytes(self) -> int:
        """The file's size if it were finished now without index and filter; compressed, but for the open block."""
        return self._offset + self._block.size_bytes()

    @cython.ccall
    def add(
        self, key: bytes, lsn: cython.ulonglong, kind: cython.uint, expiry_ms: cython.ulonglong, value: bytes | None
    ) -> None:
        """Append an entry whose key sorts after all before it (else ValueError). The value of a tombstone is ignored.

        OSError if the file can not be written; it is then of no use.
        """
        if value is None:
            value = b""
        self._add(key, lsn, kind, expiry_ms, value, 0, len(value))

    @cython.ccall
    def add_cursor(self, cursor: Cursor) -> None:
        """Append the entry that a cursor is at, without making an object of its value."""
        self._add(
            cursor.key,
            cursor.lsn,
            cursor.kind,
            cursor.expiry_ms,
            cursor.value_source,
            cursor.value_at,
            cursor.value_len,
        )

    @cython.cfunc
    def _add(
        self,
        key: bytes,
        lsn: cython.ulonglong,
        kind: cython.uint,
        expiry_ms: cython.ulonglong,
        source: bytes,
        start: cython.Py_ssize_t,
        size: cython.Py_ssize_t,
    ) -> None:
        if self._done:
            raise ValueError("the table is finished")
        if self.entries and compare_keys(key, self._largest) <= 0:
            raise ValueError(f"key {key!r} does not sort after {self._largest!r}")
        if kind == KIND_DELETE:
            size = 0
        # A large value goes into a block of its own, so that its neighbours do not cost as much to read.
        if self._block.count and self._block.size_bytes() + len(key) + size > self._block_bytes:
            self._end_block()
        self._block.add_slice(key, lsn, kind, expiry_ms, source, start, size)
        if self._bits_per_key:
            self._note_hash(xxh3_64_intdigest(key))
        if not self.entries:
            self._smallest = key
            self._min_lsn = lsn
        self._largest = key
        self.entries += 1
        self._tombstones += kind == KIND_DELETE
        self._imports += kind == KIND_IMPORT
        self._expiring += expiry_ms != 0
        self._min_lsn = min(self._min_lsn, lsn)
        self._max_lsn = max(self._max_lsn, lsn)
        self.raw_bytes += len(key) + size

    @cython.cfunc
    def _note_hash(self, key_hash: cython.ulonglong) -> None:
        """Keep the hash of the next entry's key for the filter, 8 bytes each."""
        at: cython.Py_ssize_t = 8 * self.entries
        if at == len(self._key_hashes):
            self._key_hashes += bytes(at)
        raw: cython.p_uchar = self._key_hashes
        store(raw, at, key_hash, 8)

    @cython.cfunc
    def _end_block(self) -> None:
        raw: bytes = self._block.finish()
        data: bytes = self._encoder.encode(raw, self._salt, self._offset)
        handle = HANDLE.pack(self._offset, len(data) - BLOCK_TRAILER_BYTES, len(raw))
        self._index.add(self._largest, 0, KIND_PUT, 0, handle)
        self._blocks += 1
        self._raw_block_bytes += len(raw)
        self._write(data)

    @cython.cfunc
    def _write(self, data: bytes) -> None:
        self._unwritten += data
        self._offset += len(data)
        if len(self._unwritten) >= _WRITE_BYTES:
            self._write_through()

    def _write_through(self) -> None:
        """Hand what was gathered to the file, and have the disk take it while the next is made: so the sync at the end
        waits for little, and no flood of dirty pages delays the log's.
        """
        self._file.write(self._unwritten)
        self._file.write_behind()
        self._unwritten = bytearray()

    def _write_section(self, raw: bytes, encoder: BlockEncoder) -> Handle:
        """Write index, filter or properties like a block."""
        offset = self._offset
        data = encoder.encode(raw, self._salt, offset)
        self._write(data)
        return Handle(offset, len(data) - BLOCK_TRAILER_BYTES, len(raw))

    def finish(self, pauses: Pauses | None = None) -> TableProperties:
        """Write the rest, sync the file, and say what is in it. ValueError for a table without entries."""
        if self._done or not self.entries:
            raise ValueError("the table is finished" if self._done else "a table needs an entry")
        self._done = True
        self._end_block()
        plain = BlockEncoder("none")
        index = self._write_section(self._index.finish(), self._encoder)
        key_filter = b""
        if self._bits_per_key:
            key_filter = build_filter(bytes(self._key_hashes[: 8 * self.entries]), self._bits_per_key, pauses)
        filter_handle = self._write_section(key_filter, plain)
        properties = TableProperties(
            entries=self.entries,
            tombstones=self._tombstones,
            imports=self._imports,
            expiring=self._expiring,
            smallest=self._smallest,
            largest=self._largest,
            min_lsn=self._min_lsn,
            max_lsn=self._max_lsn,
            raw_bytes=self.raw_bytes,
            block_bytes=self._raw_block_bytes,
            blocks=self._blocks,
            file_bytes=0,
        )
        handle = self._write_section(properties.encode(), plain)
        file_bytes = self._offset + TABLE_FOOTER_BYTES
        self._write(Footer(index, filter_handle, handle, self._salt, file_bytes).encode())
        self._write_through()
        self._file.sync()
        return replace(properties, file_bytes=file_bytes)
