"""Reads one sorted table. Layout: FORMAT.md, "Table".

Invariants: index and filter stay in memory while the table is open, and every handle in the index was checked at
opening: data blocks follow each other without a gap from the header to the index. A block's bytes are used only after
its checksum matched. The file is immutable, so it can be closed and opened again at any time between reads.
"""

from __future__ import annotations

import errno

import cython

from sherd.common.disk import Disk, File
from sherd.common.errors import Corruption, StoreClosed, StoreCorrupt, Unavailable, WireError
from sherd.shard.lsm.bloom import check_filter, hash_key
from sherd.shard.lsm.format import BLOCK_COUNT_BYTES, BLOCK_TRAILER_BYTES, TABLE_FOOTER_BYTES, TABLE_HEADER_BYTES
from sherd.shard.lsm.table_layout import RAW_BLOCK_BYTES_MAX, Footer, Handle, TableProperties, decode_header

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.block import Block, load_u32, load_u64
    from cython.cimports.sherd.shard.lsm.bloom import may_contain
    from cython.cimports.sherd.shard.lsm.cache import BlockCache
    from cython.cimports.sherd.shard.lsm.cursor import Cursor, compare_keys
    from cython.cimports.sherd.shard.lsm.entry import Entry
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE, KIND_IMPORT
else:
    from sherd.shard.lsm.block import Block, load_u32, load_u64
    from sherd.shard.lsm.bloom import may_contain
    from sherd.shard.lsm.cache import BlockCache
    from sherd.shard.lsm.cursor import Cursor, compare_keys
    from sherd.shard.lsm.entry import Entry
    from sherd.shard.lsm.format import KIND_DELETE, KIND_IMPORT

_HANDLE_BYTES = 16
_RAW_BLOCK_BYTES_MAX = cython.declare(cython.ulonglong, RAW_BLOCK_BYTES_MAX)
_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Says nothing of the file: this process lacks descriptors or memory."""


@cython.final
@cython.cclass
class Table:
    """An open table: file ``path``, known by ``number`` to the cache. ``properties`` are a TableProperties.

    Opening and reading raise Corruption, naming file and offset, for a block whose checksum does not match or that the
    disk does not give; StoreCorrupt, at opening, if the file is missing, cut off or not a table; Unavailable if this
    process lacks descriptors or memory for it; StoreClosed after ``close``.
    """

    def __init__(self, disk: Disk, path: str, number: int, cache: BlockCache) -> None:
        self._disk = disk
        self.path = path
        self.number = number
        self._cache = cache
        self._file: File | None = None
        self._closed = False
        self._salt = 0
        self._filter = b""
        file = self._open_file()
        try:
            footer = self._read_footer(file)
            self._salt = footer.salt
            self.properties = self._read_properties(footer)
            self._index = self._read_index(footer)
            self._filter = self._read_filter(footer)
        except BaseException:
            self.release()
            raise
        self._shelf = cache.shelf(number, self._index.count)

    @staticmethod
    def open(disk: Disk, path: str, number: int, cache: BlockCache) -> Table:
        """The table at ``path``."""
        return Table(disk, path, number, cache)

    @property
    def file_is_open(self) -> bool:
        """Whether a file descriptor is held; see ``release``."""
        return self._file is not None

    def _open_file(self) -> File:
        if self._file is None:
            try:
                self._file = self._disk.open_read(self.path)
            except FileNotFoundError as error:
                raise StoreCorrupt(f"table {self.path} is missing") from error
            except OSError as error:
                raise _unreadable(self.path, "the table at byte 0", error) from error
        return self._file

    def _read_footer(self, file: File) -> Footer:
        offset = size = 0
        try:
            size = file.size()
            salt = decode_header(file.pread(TABLE_HEADER_BYTES, offset))
            offset = max(0, size - TABLE_FOOTER_BYTES)
            footer = Footer.decode(file.pread(TABLE_FOOTER_BYTES, offset), salt)
        except OSError as error:
            raise _unreadable(self.path, f"the {'footer' if offset else 'header'} at byte {offset}", error) from error
        except ValueError as error:
            raise StoreCorrupt(f"table {self.path} of {size} bytes is damaged or cut off: {error}") from error
        if footer.file_bytes != size:
            raise StoreCorrupt(f"table {self.path} has {size} bytes, its footer says {footer.file_bytes}")
        ends = (footer.index.end, footer.filter.end, footer.properties.end)
        if ends != (footer.filter.offset, footer.properties.offset, size - TABLE_FOOTER_BYTES):
            raise StoreCorrupt(f"table {self.path}: the footer at byte {size - TABLE_FOOTER_BYTES} contradicts itself")
        return footer

    def _read_properties(self, footer: Footer) -> TableProperties:
        try:
            return TableProperties.decode(self._read(footer.properties), footer.file_bytes)
        except ValueError as error:
            raise Corruption(f"{self.path}: bad properties at byte {footer.properties.offset}: {error}") from error

    def _read_index(self, footer: Footer) -> Block:
        """The index, all of its handles checked."""
        place = f"{self.path}: the index at byte {footer.index.offset}"
        try:
            index = Block(self._read(footer.index))
        except ValueError as error:
            raise Corruption(f"{place} is malformed: {error}") from error
        cursor = Cursor()
        raw: cython.p_uchar = index.data
        end: cython.ulonglong = footer.index.offset
        offset: cython.ulonglong = TABLE_HEADER_BYTES
        i: cython.Py_ssize_t
        for i in range(index.count):
            index.show(i, cursor)
            if cursor.value_len != _HANDLE_BYTES or cursor.expiry_ms != 0:
                raise Corruption(f"{place} has a malformed entry {i}")
            at: cython.Py_ssize_t = index.value_start(i)
            lies_well: cython.bint = load_u64(raw, at) == offset
            offset += BLOCK_TRAILER_BYTES
            offset += load_u32(raw, at + 8)
            if not lies_well or offset > end:
                raise Corruption(f"{place}: block {i} does not lie where it should")
        if offset != end or index.count == 0 or index.count != self.properties.blocks:
            raise Corruption(f"{place} does not cover the blocks before it")
        return index

    def _read_filter(self, footer: Footer) -> bytes:
        if footer.filter.raw_bytes == 0:
            return b""
        data = self._read(footer.filter)
        try:
            check_filter(data)
        except ValueError as error:
            raise Corruption(f"{self.path}: bad filter at byte {footer.filter.offset}: {error}") from error
        return data

    def _read(self, handle: Handle) -> bytes:
        """The decoded bytes of a stored block."""
        return self._read_at(handle.offset, handle.stored_bytes, handle.raw_bytes)

    @cython.cfunc
    def _read_at(self, offset: cython.ulonglong, stored_bytes: cython.ulonglong, raw_bytes: cython.ulonglong) -> bytes:
        if raw_bytes > _RAW_BLOCK_BYTES_MAX:
            raise Corruption(f"{self.path}: the block at byte {offset} asks for {raw_bytes} bytes")
        size: cython.Py_ssize_t = stored_bytes + BLOCK_TRAILER_BYTES
        try:
            data: bytes = self._open_file().pread(size, offset)
        except StoreCorrupt as error:  # it was there when it was opened first
            raise Corruption(f"{self.path}: the block at byte {offset} is gone: {error}") from error
        except OSError as error:
            raise _unreadable(self.path, f"the block at byte {offset}", error) from error
        if len(data) != size:
            raise Corruption(f"{self.path} ends within the block at byte {offset}")
        raw: bytes = self._cache.decoder.decode(data, raw_bytes, self._salt, offset, self.path)
        return raw

    @cython.ccall
    def get(self, key: bytes, key_hash: cython.ulonglong) -> Entry | None:
        """The entry of ``key``, tombstones and expired ones included; None if there is none. ``key_hash`` is
        ``bloom.hash_key(key)``. Reads at most one block, and with a filter mostly none for an absent key.
        """
        if not may_contain(self._filter, key_hash):
            return None
        if self._closed:
            raise StoreClosed(f"table {self.path} is closed")
        i: cython.Py_ssize_t = self._index.search(key)
        if i == self._index.count:
            return None
        return self.block(i, True).find(key)

    @cython.cfunc
    def block(self, i: cython.Py_ssize_t, fill_cache: cython.bint) -> Block:
        """Data block ``i``, from the cache or the file."""
        if self._closed:
            raise StoreClosed(f"table {self.path} is closed")
        block: Block | None = self._shelf[i]
        if block is not None:
            block.touched = True
            return block
        block = self._read_block(i)
        if fill_cache:
            self._cache.put(self._shelf, i, block)
        return block

    @cython.cfunc
    def _read_block(self, i: cython.Py_ssize_t) -> Block:
        at: cython.Py_ssize_t = self._index.value_start(i)
        raw: cython.p_uchar = self._index.data
        offset: cython.ulonglong = load_u64(raw, at)
        try:
            block = Block(self._read_at(offset, load_u32(raw, at + 8), load_u32(raw, at + 12)))
        except ValueError as error:
            raise Corruption(f"{self.path}: the block at byte {offset} is malformed: {error}") from error
        if block.count == 0:
            raise Corruption(f"{self.path}: the block at byte {offset} is empty")
        return block

    def cursor(self, fill_cache: bool = True) -> TableCursor:
        """A cursor over the table; without ``fill_cache`` what it reads does not enter the cache."""
        return TableCursor(self, fill_cache)

    def verify(self) -> None:
        """Read everything from the file and check all that can be: checksums, order, index, filter, properties.

        Corruption at the first thing that is wrong.
        """
        footer = self._read_footer(self._open_file())
        index: Block = self._read_index(footer)
        properties = self._read_properties(footer)
        key_filter = self._read_filter(footer)
        cursor = Cursor()
        before = Cursor()
        entries = tombstones = imports = expiring = 0
        raw: cython.p_uchar = index.data
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        for i in range(index.count):
            block = self._read_block(i)
            place = f"{self.path}: the block at byte {load_u64(raw, index.value_start(i))}"
            for j in range(block.count):
                block.show(j, cursor)
                if entries and compare_keys(cursor.key, before.key) <= 0:
                    raise Corruption(f"{place} has its entry {j} out of order")
                if not properties.min_lsn <= cursor.lsn <= properties.max_lsn:
                    raise Corruption(f"{place} has an LSN in entry {j} that its table says it has not")
                if not may_contain(key_filter, hash_key(cursor.key)):
                    raise Corruption(f"{place} has a key in entry {j} that the filter denies")
                if entries == 0 and cursor.key != properties.smallest:
                    raise Corruption(f"{place} does not begin with the table's smallest key")
                entries += 1
                tombstones += cursor.kind == KIND_DELETE
                imports += cursor.kind == KIND_IMPORT
                expiring += cursor.expiry_ms != 0
                before.copy_from(cursor)
            index.show(i, cursor)
            if cursor.key != before.key:
                raise Corruption(f"{place} does not end with the key that the index has for it")
        found = (entries, tombstones, imports, expiring)
        told = (properties.entries, properties.tombstones, properties.imports, properties.expiring)
        if found != told or before.key != properties.largest:
            raise Corruption(f"{self.path}: properties at byte {footer.properties.offset} miscount what the table has")

    def release(self) -> None:
        """Close the file until the next read that needs it."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def close(self) -> None:
        """Close the file for good and give back all memory, cached blocks included. Harmless when repeated."""
        self.release()
        if not self._closed:
            self._closed = True
            self._cache.drop(self.number)
            self._index = Block(bytes(BLOCK_COUNT_BYTES))
            self._filter = b""


def _unreadable(path: str, place: str, error: OSError) -> WireError:
    """What to raise when the system did not give what was to be read."""
    if error.errno in _LACKING:
        return Unavailable(f"{path}: {place} cannot be read for now: {error.strerror}")
    return Corruption(f"{path}: {place} cannot be read: [Errno {error.errno}] {error.strerror}")


@cython.final
@cython.cclass
class TableCursor(Cursor):
    """Walks one table; invariant: while valid, it is at entry ``_i`` of ``_block``, the table's block ``_block_at``."""

    def __init__(self, table: Table, fill_cache: bool) -> None:
        Cursor.__init__(self)
        self._table = table
        self._fill_cache = fill_cache
        self._block = table._index
        self._block_at = 0
        self._i = 0

    @cython.cfunc
    def _enter(self, block_at: cython.Py_ssize_t, at_end: cython.bint) -> None:
        """Stand at the first or last entry of a block, or nowhere if there is no such block."""
        self.invalidate()
        if block_at < 0 or block_at >= len(self._table._shelf):
            return
        block: Block = self._table.block(block_at, self._fill_cache)
        self._block = block
        self._block_at = block_at
        self._i = block.count - 1 if at_end else 0
        block.show(self._i, self)

    @cython.ccall
    def seek_first(self) -> None:
        self._enter(0, False)

    @cython.ccall
    def seek_last(self) -> None:
        self._enter(len(self._table._shelf) - 1, True)

    @cython.ccall
    def seek(self, key: bytes) -> None:
        block_at: cython.Py_ssize_t = self._table._index.search(key)
        self._enter(block_at, False)
        if not self.valid:
            return
        self._i = self._block.search(key)
        if self._i < self._block.count:
            self._block.show(self._i, self)
        else:  # the index says otherwise, so index and block contradict each other
            self.invalidate()
            raise Corruption(f"{self._table.path}: block {block_at} ends before the key that the index has for it")

    @cython.ccall
    def seek_before(self, key: bytes) -> None:
        self.seek(key)
        if self.valid:
            self.prev()
        else:
            self.seek_last()

    @cython.ccall
    def next(self) -> None:
        if not self.valid:
            return
        self._i += 1
        if self._i < self._block.count:
            self._block.show(self._i, self)
        else:
            self._enter(self._block_at + 1, False)

    @cython.ccall
    def prev(self) -> None:
        if not self.valid:
            return
        if self._i > 0:
            self._i -= 1
            self._block.show(self._i, self)
        else:
            self._enter(self._block_at - 1, True)
