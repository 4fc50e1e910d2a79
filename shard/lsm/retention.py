"""Log segments that are in tables already and stay a while, because followers may still have to read them.

Invariants: the segments ascend, in number and in LSN; the newest are kept the longest; nothing is kept unless asked
for.
"""

from collections.abc import Iterable
from typing import NamedTuple


class KeptSegment(NamedTuple):
    """A closed segment: its number, the last LSN in it or before it, and its size in bytes."""

    number: int
    last_lsn: int
    nbytes: int


class Retention:
    """The ``segments`` that are kept. ``needed_lsn``: records from there on are to be, as far as ``bytes_max`` goes;
    None keeps nothing.
    """

    def __init__(self, bytes_max: int, segments: Iterable[KeptSegment] = ()) -> None:
        self._bytes_max = bytes_max
        self.segments = list(segments)
        self.needed_lsn: int | None = None

    def plan(self, closed: Iterable[KeptSegment]) -> tuple[list[KeptSegment], list[int]]:
        """What to keep once ``closed`` are in tables too, and the numbers of those that need not be kept."""
        found = [*self.segments, *closed]
        nbytes = sum(segment.nbytes for segment in found)
        surplus = []
        for segment in found:
            if self.needed_lsn is not None and segment.last_lsn >= self.needed_lsn and nbytes <= self._bytes_max:
                break
            surplus.append(segment.number)
            nbytes -= segment.nbytes
        return found[len(surplus) :], surplus
