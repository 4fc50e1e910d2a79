"""The end of a leader's log in memory, as it was written: what followers that keep up are sent.

Invariants: pieces follow each other without a gap in their LSNs, other than a term's; together they hold at most
``bytes_max`` beyond the newest of them.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sherd.common.errors import Corruption
from sherd.shard.lsm.segment_scan import FILE_END, RECORD, RecordHeader, RecordScanner


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Whole records of one segment, in the bytes that they have there: headers verify under ``salt``."""

    first_lsn: int
    last_lsn: int
    salt: int
    data: bytes

    def records(self) -> Iterator[tuple[RecordHeader, bytes]]:
        """Each record as (header, body), verified; Corruption if there is anything else."""
        scanner = RecordScanner(self.salt, 0, len(self.data), 0)
        scanner.feed(self.data)
        while (found := scanner.next()) == RECORD:
            yield scanner.header, scanner.body
        if found != FILE_END:
            raise Corruption(f"a piece of the log is damaged at byte {scanner.offset} of {len(self.data)}")


class LogTail:
    """The latest pieces. ``first_lsn`` is where they begin, and ``next_lsn`` where the next one will."""

    def __init__(self, next_lsn: int, bytes_max: int) -> None:
        self.next_lsn = next_lsn
        self._bytes_max = bytes_max
        self._bytes = 0
        self._pieces: deque[LogPiece] = deque()

    @property
    def first_lsn(self) -> int:
        return self._pieces[0].first_lsn if self._pieces else self.next_lsn

    def add(self, first_lsn: int, last_lsn: int, salt: int, data: bytes) -> None:
        """``data`` was written to the log."""
        self._pieces.append(LogPiece(first_lsn, last_lsn, salt, data))
        self.next_lsn = last_lsn + 1
        self._bytes += len(data)
        while self._bytes > self._bytes_max and len(self._pieces) > 1:
            self._bytes -= len(self._pieces.popleft().data)

    def read(self, next_lsn: int, bytes_max: int) -> LogPiece | None:
        """Records from ``next_lsn`` on, about ``bytes_max`` of them and at least a piece; None if it is not here.

        What is sent may begin before ``next_lsn``, if that lies within a piece: the reader passes over it.
        """
        if not self.first_lsn <= next_lsn < self.next_lsn:
            return None
        at = bisect_right(self._pieces, next_lsn, key=lambda piece: piece.first_lsn) - 1
        first = last = self._pieces[at]
        parts = [first.data]
        size = len(first.data)
        while at + len(parts) < len(self._pieces):
            following = self._pieces[at + len(parts)]
            if following.salt != first.salt or size + len(following.data) > bytes_max:
                break
            parts.append(following.data)
            size += len(following.data)
            last = following
        return LogPiece(first.first_lsn, last.last_lsn, first.salt, b"".join(parts))
