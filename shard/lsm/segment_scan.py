"""Finding records in a segment's bytes: in sequence, and by searching for the next header that verifies.

``RecordScanner`` is handed chunks and says what stands at its position: a record, an end, or which check failed. It
holds one chunk, reads nothing and decides nothing. A header counts only if its checksum verifies under the segment's
salt; a body only if its checksum does and it agrees with the header about its LSNs.
"""

from typing import Final

import cython
from xxhash import xxh3_64_intdigest

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
    from cython.cimports.cpython.memoryview import PyMemoryView_FromMemory
    from cython.cimports.sherd.shard.lsm.format import (
        RECORD_BODY_HEAD_BYTES,
        RECORD_CHECKED_BYTES,
        RECORD_HEADER_BYTES,
        RECORD_JUMP,
        RECORD_TERM,
    )
else:
    from sherd.shard.lsm.format import (
        RECORD_BODY_HEAD_BYTES,
        RECORD_CHECKED_BYTES,
        RECORD_HEADER_BYTES,
        RECORD_JUMP,
        RECORD_TERM,
    )

# What RecordScanner.next() found.
MORE: Final = 0  # the chunk ends before the record at .offset does: feed at least .needed bytes from there
RECORD: Final = 1  # .header and .body are a record
ZERO_HEADER: Final = 2
BAD_HEADER: Final = 3
BAD_BODY: Final = 4
TRUNCATED: Final = 5
OUT_OF_ORDER: Final = 6
FILE_END: Final = 7


@cython.cfunc
@cython.inline
@cython.boundscheck(False)
@cython.wraparound(False)
def _load(data: bytes, pos: cython.Py_ssize_t, width: cython.Py_ssize_t) -> cython.ulonglong:
    """``width`` little-endian bytes as a number."""
    if pos < 0 or width > len(data) - pos:
        raise IndexError("a load beyond the chunk")
    value: cython.ulonglong = 0
    octet: cython.ulonglong
    i: cython.Py_ssize_t
    for i in range(width):
        octet = data[pos + i]
        value |= octet << (8 * i)
    return value


@cython.cfunc
def _checksum(data: bytes, pos: cython.Py_ssize_t, size: cython.Py_ssize_t, seed: cython.ulonglong) -> cython.ulonglong:
    """xxh3_64 of a part of ``data``, without copying it."""
    if pos < 0 or size > len(data) - pos:
        raise IndexError("a checksum beyond the chunk")
    if cython.compiled:
        return xxh3_64_intdigest(PyMemoryView_FromMemory(PyBytes_AS_STRING(data) + pos, size, 0x100), seed)
    else:
        return xxh3_64_intdigest(memoryview(data)[pos : pos + size], seed)


@cython.cfunc
def _plausible(data: bytes, pos: cython.Py_ssize_t) -> cython.bint:
    """Whether the fields of a header could belong together; cheap, so that a search need not hash everywhere."""
    body_bytes: cython.ulonglong = _load(data, pos, 4)
    if body_bytes < RECORD_BODY_HEAD_BYTES:
        return False
    first_lsn: cython.ulonglong = _load(data, pos + 8, 8)
    last_lsn: cython.ulonglong = _load(data, pos + 16, 8)
    if first_lsn == 0 or last_lsn < first_lsn - 1:
        return False
    return last_lsn - (first_lsn - 1) <= body_bytes and _load(data, pos + 24, 8) <= last_lsn


@cython.final
@cython.freelist(16)
@cython.cclass
class RecordHeader:
    """A header whose checksum verified. ``last_lsn`` is ``first_lsn - 1`` for a record without operations."""

    def __init__(self, data: bytes, pos: cython.Py_ssize_t) -> None:
        self.body_bytes = _load(data, pos, 4)
        self.flags = _load(data, pos + 4, 4)
        self.first_lsn = _load(data, pos + 8, 8)
        self.last_lsn = _load(data, pos + 16, 8)
        self.synced = _load(data, pos + 24, 8)
        self.body_checksum = _load(data, pos + 32, 8)
        self.record_bytes = (RECORD_HEADER_BYTES + self.body_bytes + 15) & ~15


def find_header(data: bytes, pos: cython.Py_ssize_t, salt: cython.ulonglong) -> cython.Py_ssize_t:
    """The first position from ``pos`` on, in steps of 16, where a whole header verifies under ``salt``; -1 if none."""
    if pos < 0:
        raise ValueError(f"position {pos} is before the chunk")
    last: cython.Py_ssize_t = len(data) - RECORD_HEADER_BYTES
    while pos <= last:
        if _plausible(data, pos) and _checksum(data, pos, RECORD_CHECKED_BYTES, salt) == _load(data, pos + 40, 8):
            return pos
        pos += 16
    return -1


@cython.final
@cython.cclass
class RecordScanner:
    """Walks the records of one segment through chunks of its bytes.

    ``offset`` is the file position of what ``next`` spoke of, ``position`` of what it will look at, ``next_lsn`` the
    LSN that the next record begins with (0 = not known; any will do). ``file_bytes`` is the size of the file.
    """

    def __init__(
        self,
        salt: cython.ulonglong,
        position: cython.Py_ssize_t,
        file_bytes: cython.Py_ssize_t,
        next_lsn: cython.ulonglong,
    ) -> None:
        self._salt = salt
        self._file_bytes = file_bytes
        self._data = b""
        self._base = position
        self.position = position
        self.offset = position
        self.needed = 0
        self.next_lsn = next_lsn
        self.header = cython.cast(RecordHeader, None)
        self.body = b""

    @cython.ccall
    def feed(self, data: bytes) -> object:
        """The file's bytes from ``position`` on, in place of the chunk held so far."""
        self._data = data
        self._base = self.position
        return None

    @cython.ccall
    def next(self) -> cython.int:
        """Look at the position: one of the constants of this module. The position moves only past a record."""
        self.offset = self.position
        data: bytes = self._data
        pos: cython.Py_ssize_t = self.position - self._base
        held: cython.Py_ssize_t = len(data) - pos
        left: cython.Py_ssize_t = self._file_bytes - self.position
        if left <= 0:
            return FILE_END
        if held < RECORD_HEADER_BYTES and held < left:
            self.needed = min(left, RECORD_HEADER_BYTES)
            return MORE
        if left < RECORD_HEADER_BYTES:
            return TRUNCATED if data[pos:].strip(b"\0") else ZERO_HEADER
        if not _plausible(data, pos) or (
            _checksum(data, pos, RECORD_CHECKED_BYTES, self._salt) != _load(data, pos + 40, 8)
        ):
            return BAD_HEADER if data[pos : pos + RECORD_HEADER_BYTES].strip(b"\0") else ZERO_HEADER
        header: RecordHeader = RecordHeader(data, pos)
        self.header = header
        body_bytes: cython.Py_ssize_t = header.body_bytes
        if body_bytes > left - RECORD_HEADER_BYTES:
            return TRUNCATED
        if body_bytes > held - RECORD_HEADER_BYTES:
            self.needed = min(left, header.record_bytes)
            return MORE
        if not self._in_order(header):
            return OUT_OF_ORDER
        pos += RECORD_HEADER_BYTES
        if _checksum(data, pos, body_bytes, 0) != header.body_checksum or not self._agrees(header, pos):
            return BAD_BODY
        if cython.compiled:
            self.body = PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + pos, body_bytes)
        else:
            self.body = data[pos : pos + body_bytes]
        self.next_lsn = header.last_lsn + 1
        self.position = min(self.position + header.record_bytes, self._file_bytes)  # padding may have been cut
        return RECORD

    @cython.cfunc
    def _in_order(self, header: RecordHeader) -> cython.bint:
        """Whether the record goes on where the last one ended.

        Term and jump records may leave a gap, but none that holds an LSN which they say was on stable storage.
        """
        if self.next_lsn == 0:
            return True
        if header.flags & (RECORD_TERM | RECORD_JUMP):
            return header.first_lsn >= self.next_lsn > header.synced
        return header.first_lsn == self.next_lsn

    @cython.cfunc
    def _agrees(self, header: RecordHeader, pos: cython.Py_ssize_t) -> cython.bint:
        """Whether the body at ``pos`` of the chunk holds the LSNs that its header says."""
        data: bytes = self._data
        count: cython.ulonglong = _load(data, pos + 16, 4)
        if header.flags & (RECORD_TERM | RECORD_JUMP):
            return _load(data, pos + 8, 8) == header.first_lsn == header.last_lsn and count == 0
        return _load(data, pos + 8, 8) == header.first_lsn and count == header.last_lsn - (header.first_lsn - 1)
