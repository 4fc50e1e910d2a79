"""From a key to its shard: the lookup that every request makes.

A ``TokenMap`` is an immutable index over one layout, made anew for a new one. Hash mode searches an array of 64-bit
integers, range mode a list of ``bytes``; both find the last partition that starts at or below the token.
"""

from array import array
from bisect import bisect_left, bisect_right

import cython
import xxhash

from sherd.common.topology.layout import Layout, Partition

_hash = xxhash.xxh3_64_intdigest


@cython.final
@cython.cclass
class TokenMap:
    """``owner(key)`` and the partitions of a range, for one ``layout``."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.hashed = layout.mode == "hash"
        starts = [partition.start for partition in layout.partitions]
        self._starts = starts
        self._tokens = array("Q", [int.from_bytes(start, "big") for start in starts] if self.hashed else [0])
        self._count = len(starts)
        self._owners = array("l", [partition.owner for partition in layout.partitions])

    @cython.ccall
    @cython.exceptval(-1)
    def locate(self, key: bytes) -> cython.Py_ssize_t:
        """The index in ``layout.partitions`` of the key's partition."""
        low: cython.Py_ssize_t
        high: cython.Py_ssize_t
        middle: cython.Py_ssize_t
        token: cython.ulonglong
        if not self.hashed:
            return bisect_right(self._starts, key) - 1
        token = _hash(key)
        # The first start is token 0, so the search always ends at or above partition 0.
        low = 0
        high = self._count
        while high - low > 1:
            middle = (low + high) >> 1
            if self._tokens[middle] <= token:
                low = middle
            else:
                high = middle
        return low

    @cython.ccall
    @cython.exceptval(-1)
    def owner(self, key: bytes) -> cython.long:
        """The id of the shard that owns the key."""
        return self._owners[self.locate(key)]

    def owners(self) -> list[int]:
        """Every shard that owns something, ascending."""
        return sorted(set(self._owners))

    def partitions_of_range(self, start: bytes | None, end: bytes | None) -> list[Partition]:
        """The partitions that may hold keys in ``[start, end)``, in token order; in hash mode, all of them."""
        if end is not None and end <= (start or b""):
            return []
        if self.hashed:
            return list(self.layout.partitions)
        first = bisect_right(self._starts, start or b"") - 1
        last = len(self._starts) if end is None else bisect_left(self._starts, end)
        return list(self.layout.partitions[first:last])

    def owners_of_range(self, start: bytes | None, end: bytes | None) -> list[int]:
        """The shards that may hold keys in ``[start, end)``, each once: in key order of their first partition in range
        mode, ascending in hash mode."""
        owners = dict.fromkeys(partition.owner for partition in self.partitions_of_range(start, end))
        return sorted(owners) if self.hashed else list(owners)

    def runs_of_range(self, start: bytes | None, end: bytes | None) -> list[tuple[bytes | None, bytes | None, int]]:
        """Range mode: ``[start, end)`` cut at changes of owner, as ``(start, end, shard)`` in key order."""
        if self.hashed:
            raise ValueError("in hash mode every shard holds keys of every range")
        runs: list[tuple[bytes | None, bytes | None, int]] = []
        for partition in self.partitions_of_range(start, end):
            if not runs:
                runs.append((start, end, partition.owner))
            elif partition.owner != runs[-1][2]:
                runs[-1] = (runs[-1][0], partition.start, runs[-1][2])
                runs.append((partition.start, end, partition.owner))
        return runs
