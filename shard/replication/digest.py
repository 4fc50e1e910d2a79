"""Digests: what each range of tokens holds, as two numbers, so that replicas are compared without sending their data.

A range's digest is the number of its live entries and the sum, modulo 2^64, of a hash over each of them: key, value,
version and expiry. A sum depends on no order, so one walk in key order does for ranges of hashes too. Tombstones count
for nothing: when they go is up to each replica's compactions. Entries that have expired count for nothing by a time
that all replicas compared are told, and which is not before any of them: by then a compaction may have dropped them.
"""

import struct
from array import array
from collections.abc import Sequence

import cython
import xxhash

from sherd.common.topology.layout import FIRST_COUNTER, HASH_TOKEN_BYTES, Layout, Mode, Partition, Token
from sherd.common.types import ShardId

if cython.compiled:
    from cython.cimports.sherd.common.topology.token_map import TokenMap
    from cython.cimports.sherd.shard.lsm.cursor import Cursor
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
else:
    from sherd.common.topology.token_map import TokenMap
    from sherd.shard.lsm.cursor import Cursor
    from sherd.shard.lsm.format import KIND_DELETE

HASH_RANGES = 256

_hash = xxhash.xxh3_64_intdigest
_head = struct.Struct("<QQI").pack  # version, expiry, length of the key
_SUM_BITS = cython.declare(object, (1 << 64) - 1)


def hash_range_starts() -> list[bytes]:
    """Where ``HASH_RANGES`` ranges of the same width start in the token space of hash mode."""
    width = (1 << (8 * HASH_TOKEN_BYTES)) // HASH_RANGES
    return [(number * width).to_bytes(HASH_TOKEN_BYTES, "big") for number in range(HASH_RANGES)]


def token_ranges(mode: Mode, starts: Sequence[bytes]) -> TokenMap:
    """The ranges that start at these tokens, as ``Digest`` wants them. ConfigError unless they cut the space up."""
    partitions = (Partition(number, Token(start), ShardId(1)) for number, start in enumerate(starts, 1))
    return TokenMap(Layout(FIRST_COUNTER, mode, tuple(partitions)))


@cython.final
@cython.cclass
class Digest:
    """Of the live entries that ``cursor`` shows, which must stand still between steps, as at ``time_ms``.

    ``examined`` counts entries of all kinds; ``done`` says that there are no more.
    """

    def __init__(self, cursor: Cursor, ranges: TokenMap, time_ms: int) -> None:
        size = len(ranges.layout.partitions)
        self.examined = 0
        self.done = False
        self._cursor = cursor
        self._ranges = ranges
        self._time_ms = time_ms
        self._begun = False
        self._counts = array("Q", bytes(8 * size))
        self._sums = array("Q", bytes(8 * size))

    @cython.ccall
    def step(self, entries_max: cython.Py_ssize_t, bytes_max: cython.Py_ssize_t) -> None:
        """Take in up to so many entries, and hardly more bytes of keys and values. Corruption as the cursor raises."""
        cursor: Cursor = self._cursor
        left: cython.Py_ssize_t = bytes_max
        if not self._begun:
            self._begun = True
            cursor.seek_first()
        while cursor.valid and entries_max > 0 and left > 0:
            if cursor.kind != KIND_DELETE and (cursor.expiry_ms == 0 or cursor.expiry_ms > self._time_ms):
                self._add(cursor)
            left -= len(cursor.key) + cursor.value_len
            entries_max -= 1
            self.examined += 1
            cursor.next()
        self.done = not cursor.valid

    @cython.cfunc
    def _add(self, cursor: Cursor) -> None:
        key: bytes = cursor.key
        at: cython.Py_ssize_t = self._ranges.locate(key)
        entry = _hash(_head(cursor.lsn, cursor.expiry_ms, len(key)) + key + cursor.value())
        self._counts[at] += 1
        self._sums[at] = (self._sums[at] + entry) & _SUM_BITS

    def rows(self) -> list[tuple[int, int]]:
        """(entries, sum of their hashes) of each range, in token order."""
        return list(zip(self._counts, self._sums, strict=True))
