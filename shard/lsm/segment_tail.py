"""Reads the log of a running engine from its segments, for followers that are too far behind for its memory.

Every record is verified before it is handed on, and none beyond what the engine has written. Only files are touched,
so that a thread may do the reading.
"""

from collections.abc import Sequence
from typing import Final

from sherd.common.disk import Disk
from sherd.common.errors import StoreCorrupt
from sherd.shard.lsm.format import RECORD_JUMP, RECORD_TERM, SEGMENT_HEADER_BYTES, segment_name
from sherd.shard.lsm.log_tail import LogPiece
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.segment_scan import MORE, RECORD, RecordHeader, RecordScanner

READ_BYTES: Final = 256 << 10


class SegmentTail:
    """A place in the log, moved on by ``read``. ``next_lsn`` is the LSN it has come to."""

    def __init__(self, disk: Disk, directory: str, next_lsn: int) -> None:
        self._disk = disk
        self._directory = directory
        self._reader: SegmentReader | None = None
        self._number = 0
        self._position = 0
        self.next_lsn = next_lsn

    def close(self) -> None:
        """Let go of the open file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def read(self, segments: Sequence[int], written_lsn: int, bytes_max: int = READ_BYTES) -> LogPiece | None:
        """The next records up to ``written_lsn``; None if these segments (ascending) do not hold ``next_lsn``.

        StoreCorrupt if what should be there does not verify.
        """
        if self._reader is None and not self._find(segments):
            return None
        while self._reader is not None:
            piece = self._read_here(self._reader, written_lsn, bytes_max)
            if piece is not None:
                return piece
            if self.next_lsn > written_lsn:
                return None
            self._open_following(segments)
        return None

    def _find(self, segments: Sequence[int]) -> bool:
        """Go to the segment that holds ``next_lsn``: the last one that begins with it, before it, or with no gap
        after.
        """
        for number in reversed(segments):
            reader = SegmentReader.open(self._disk, f"{self._directory}/{segment_name(number)}", number)
            first = next((header for _, header, _ in reader.records()), None)
            if first is not None and _goes_on_from(self.next_lsn, first):
                self._take(reader, number)
                return True
            reader.close()
        return False

    def _take(self, reader: SegmentReader, number: int) -> None:
        self._reader, self._number, self._position = reader, number, SEGMENT_HEADER_BYTES

    def _open_following(self, segments: Sequence[int]) -> None:
        """Go on in the next segment. StoreCorrupt if there is none, for something is missing then."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        following = [number for number in segments if number > self._number]
        if not following:
            name = segment_name(self._number)
            raise StoreCorrupt(f"{self._directory}/{name} offset {self._position}: LSN {self.next_lsn} is missing")
        number = following[0]
        self._take(SegmentReader.open(self._disk, f"{self._directory}/{segment_name(number)}", number), number)

    def _read_here(self, reader: SegmentReader, written_lsn: int, bytes_max: int) -> LogPiece | None:
        """Records of the open segment, or None if it holds no more up to ``written_lsn``."""
        size = bytes_max
        while True:
            base = begin = end = self._position
            data = reader.read_at(size, base)
            scanner = RecordScanner(reader.header.salt, base, reader.file_bytes, 0)
            scanner.feed(data)
            first_lsn = 0
            while (found := scanner.next()) == RECORD and scanner.header.last_lsn <= written_lsn:
                header = scanner.header
                end = scanner.position
                if header.last_lsn >= self.next_lsn:
                    first_lsn = first_lsn or header.first_lsn
                    self.next_lsn = header.last_lsn + 1
                elif not first_lsn:
                    begin = end
            self._position = end
            if first_lsn:
                return LogPiece(first_lsn, self.next_lsn - 1, reader.header.salt, data[begin - base : end - base])
            if end == base:
                if found != MORE:
                    return None
                size = max(2 * size, scanner.needed)


def _goes_on_from(next_lsn: int, first: RecordHeader) -> bool:
    """Whether nothing is missing between ``next_lsn`` and this record: a term's says what was the last before it."""
    if first.flags & (RECORD_TERM | RECORD_JUMP) and first.synced < next_lsn:
        return True
    return first.first_lsn <= next_lsn
