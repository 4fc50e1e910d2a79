"""Rows of a directory that no process has open: the engine without a server, values as the bytes they are."""

from collections.abc import Iterator

import msgpack

from sherd.cli.entries import Range
from sherd.cli.entry_sink import Batch, RefusedRow
from sherd.cli.json_lines import Row
from sherd.cli.target import check_no_shard, check_store_directory
from sherd.common.clock import SystemClock
from sherd.common.disk import RealDisk
from sherd.common.errors import Overloaded
from sherd.common.limits import PAGE_BYTES_MAX, Limits
from sherd.common.wire.primitives import value_end
from sherd.shard.lsm.batch import ANY_VERSION
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import KIND_PUT
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.store_codec import prefix_end
from sherd.shard.lsm.store_work import InlineWork

_ROW_LENGTH_BYTES = 4


class DirectorySource:
    """Reads a directory and changes nothing in it."""

    def __init__(self, path: str) -> None:
        check_store_directory(path)
        self._engine = Engine.open(path, EngineOptions(), RealDisk(), SystemClock(), read_only=True)

    def close(self) -> None:
        self._engine.close()

    def rows(self, range_: Range) -> Iterator[Row]:
        """The rows of a range."""
        low, high = _bounds(range_)
        left = range_.limit
        while left is None or left > 0:
            asked = 1 << 40 if left is None else left
            page = self._engine.scan_page(low, high, range_.reverse, asked, PAGE_BYTES_MAX)
            yield from _split(page.rows)
            left = None if left is None else left - page.count
            if page.resume is None:
                return
            if range_.reverse:
                high = page.resume
            else:
                low = page.resume


class DirectorySink:
    """Writes to a Store's directory, flushing and compacting as that becomes due."""

    def __init__(self, path: str, written_line: int) -> None:
        check_store_directory(path)
        check_no_shard(path)
        self._engine = Engine.open(path, EngineOptions(fsync="os"), RealDisk(), SystemClock(), create=False)
        self._work = InlineWork(self._engine, RealDisk())
        self._value_bytes_max = Limits().value_bytes_max
        self.written_line = written_line
        self.written_rows = 0
        self.refused: list[RefusedRow] = []

    def submit(self, batch: Batch) -> None:
        """Write a batch. What is counted as written is in the log; it is on stable storage after ``finish``."""
        ops = []
        for line, (key, value) in zip(batch.lines, batch.rows, strict=True):
            if len(value) > self._value_bytes_max:
                reason = f"TOO_LARGE value of {len(value)} bytes is over the limit of {self._value_bytes_max} bytes"
                self.refused.append(RefusedRow(line, reason))
            else:
                ops.append((KIND_PUT, key, value, 0, ANY_VERSION))
        if ops:
            try:
                self._engine.batch(ops)
            except Overloaded:
                self._work.advance()
                self._engine.batch(ops)
            self._engine.commit()
            self._work.advance()
        self.written_rows += len(ops)
        self.written_line = batch.last_line

    def finish(self) -> None:
        self._engine.sync()

    def close(self) -> None:
        self._engine.close()


def _bounds(range_: Range) -> tuple[bytes | None, bytes | None]:
    low, high = range_.start, range_.end
    if range_.prefix:
        after = prefix_end(range_.prefix)
        low = range_.prefix if low is None else max(low, range_.prefix)
        high = after if high is None else high if after is None else min(high, after)
    return low, high


def _split(rows: bytes) -> Iterator[Row]:
    """The rows of a page: each a length of four bytes, then ``[key, value]`` as MessagePack."""
    position = 0
    while position < len(rows):
        start = position + _ROW_LENGTH_BYTES
        end = start + int.from_bytes(rows[position:start], "little")
        key_end = value_end(rows, start + 1)
        yield msgpack.unpackb(rows[start + 1 : key_end]), rows[key_end:end]
        position = end
