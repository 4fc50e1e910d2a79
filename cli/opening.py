"""Where ``scan``, ``export`` and ``import`` read and write rows: a cluster, or a directory."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from sherd.cli.entries import EntrySource, ServerSource
from sherd.cli.entry_sink import Batch, RefusedRow, ServerSink


class EntrySink(Protocol):
    """Where rows go. ``written_line``: every row up to that line is written, or was among ``refused``."""

    written_line: int
    written_rows: int
    refused: list[RefusedRow]

    def submit(self, batch: Batch) -> None:
        """Write a batch, now or soon, after those submitted before it."""
        ...

    def finish(self) -> None:
        """Return when everything submitted is written or refused."""
        ...

    def close(self) -> None: ...


@contextlib.contextmanager
def source_of(connect: str, data: str | None) -> Iterator[EntrySource]:
    """Rows of the cluster at ``connect``, or of the directory ``data``."""
    if data is None:
        yield ServerSource(connect)
        return
    from sherd.cli.directory import DirectorySource

    with contextlib.closing(DirectorySource(data)) as source:
        yield source


@contextlib.contextmanager
def sink_of(connect: str, data: str | None, written_line: int) -> Iterator[EntrySink]:
    """A writer to the cluster at ``connect``, or to the directory ``data``, for lines after ``written_line``."""
    if data is None:
        with contextlib.closing(ServerSink(connect, written_line)) as sink:
            yield sink
        return
    from sherd.cli.directory import DirectorySink

    with contextlib.closing(DirectorySink(data, written_line)) as directory_sink:
        yield directory_sink
