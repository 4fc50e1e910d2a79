"""Writing rows to a cluster, many batches under way, so that it is known what was written when it stops.

Batches take effect in the order they are submitted. When one fails, every one after it is written again behind it: the
same key may stand in several, and the last one must win. A row that the server refuses is reported with its line and
stops nothing else.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sherd.cli.entries import TRANSIENT, Patience
from sherd.cli.json_lines import Row
from sherd.cli.raw_link import RawLink
from sherd.common.errors import Overloaded, Partial, Timeout, Unavailable, WireError
from sherd.common.wire.encode import array_header, bin_header

BATCH_ROWS_MAX = 1000
BATCH_BYTES_MAX = 512 * 1024
WINDOW = 8
"""Batches under way at once."""

_TRANSIENT_CODES = frozenset({Overloaded.code, Unavailable.code, Timeout.code})


@dataclass(slots=True)
class Batch:
    """Rows of the lines up to ``last_line``; ``lines`` has the line of each row."""

    rows: list[Row] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    size_bytes: int = 0
    last_line: int = 0

    def add(self, line: int, row: Row) -> None:
        self.rows.append(row)
        self.lines.append(line)
        self.size_bytes += len(row[0]) + len(row[1])

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= BATCH_ROWS_MAX or self.size_bytes >= BATCH_BYTES_MAX


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not written, and why."""

    line: int
    reason: str


class ServerSink:
    """Writes batches to a cluster. ``written_line``: every row up to that line is written or among ``refused``."""

    def __init__(self, addresses: str, written_line: int = 0) -> None:
        self._addresses = addresses
        self._link = RawLink(addresses)
        self._under_way: deque[tuple[int, Batch]] = deque()
        self._settled: set[int] = set()
        self._patience = Patience()
        self.written_line = written_line
        self.written_rows = 0
        self.refused: list[RefusedRow] = []

    def close(self) -> None:
        self._link.close()

    def submit(self, batch: Batch) -> None:
        """Send a batch, once there is room in the window. A transient error is raised when patience ends."""
        if not batch.rows:
            self._pass_lines(batch.last_line)
            return
        while len(self._under_way) >= WINDOW:
            self._settle()
        try:
            msgid = self._link.send("batch", batch_params(batch.rows))
        except (ConnectionError, TimeoutError):
            self._under_way.append((-1, batch))
            self._write_again()
        else:
            self._under_way.append((msgid, batch))

    def finish(self) -> None:
        """Wait until everything submitted is written or refused."""
        while self._under_way:
            self._settle()

    def _pass_lines(self, last_line: int) -> None:
        """Lines without rows count as written when those before them are."""
        if self._under_way:
            self._under_way[-1][1].last_line = last_line
        else:
            self.written_line = last_line

    def _settle(self) -> None:
        """Take one reply."""
        try:
            reply = self._link.receive()
        except (ConnectionError, TimeoutError):
            self._write_again()
            return
        if reply.error is not None:
            self._drain()
            self._write_again()
            return
        self._settled.add(reply.msgid)
        while self._under_way and self._under_way[0][0] in self._settled:
            msgid, batch = self._under_way.popleft()
            self._settled.discard(msgid)
            self._acknowledge(batch, len(batch.rows))
        self._patience.succeeded()

    def _drain(self) -> None:
        """Wait for the replies still to come, so that nothing late takes effect after what is written again."""
        outstanding = len(self._under_way) - len(self._settled) - 1
        try:
            for _ in range(outstanding):
                self._link.receive()
        except (ConnectionError, TimeoutError):
            self._reconnect()

    def _write_again(self) -> None:
        """Write what is under way one batch at a time, in order."""
        batches = [batch for _, batch in self._under_way]
        self._settled.clear()
        for batch in batches:
            written = self._write_batch(batch)
            self._under_way.popleft()
            self._acknowledge(batch, written)

    def _write_batch(self, batch: Batch) -> int:
        """How many rows of the batch were written; the others are refused."""
        if self._write_rows(batch.rows) is None:
            return len(batch.rows)
        written = 0
        for line, row in zip(batch.lines, batch.rows, strict=True):
            error = self._write_rows([row])
            if error is None:
                written += 1
            else:
                self.refused.append(RefusedRow(line, str(error)))
        return written

    def _write_rows(self, rows: Sequence[Row]) -> WireError | None:
        """Write rows as one batch, patiently; the error if the server refuses them for good."""
        while True:
            try:
                self._link.call("batch", batch_params(rows))
            except (WireError, ConnectionError, TimeoutError) as error:
                if isinstance(error, WireError) and not is_transient(error):
                    return error
                self._patience.failed(error)
                if not isinstance(error, WireError):
                    self._reconnect()
            else:
                self._patience.succeeded()
                return None

    def _reconnect(self) -> None:
        self._link.close()
        while True:
            try:
                self._link = RawLink(self._addresses)
                return
            except (ConnectionError, TimeoutError) as error:
                self._patience.failed(error)

    def _acknowledge(self, batch: Batch, written: int) -> None:
        self.written_rows += written
        self.written_line = batch.last_line


def is_transient(error: WireError) -> bool:
    """Whether the same batch may go through a moment later."""
    if isinstance(error, Partial):
        return all(code in _TRANSIENT_CODES for _, code, _ in error.failed)
    return isinstance(error, TRANSIENT)


def batch_params(rows: Sequence[Row]) -> bytes:
    """The encoded parameters of ``batch`` that puts the rows, each value spliced in as it is."""
    parts = [b"\x91", array_header(len(rows))]
    for key, value in rows:
        parts += (b"\x93\xa3put", bin_header(len(key)), key, value)
    return b"".join(parts)
