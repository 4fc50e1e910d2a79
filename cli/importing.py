"""``sherd import``: JSON Lines into the store."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO, Never

import click
from tqdm import tqdm

from sherd.cli.entry_sink import Batch
from sherd.cli.json_lines import BadLine, decode_line
from sherd.cli.opening import EntrySink, sink_of
from sherd.cli.target import target_options
from sherd.common.errors import SherdError
from sherd.common.exit_codes import ExitCode


class _Stopped(SherdError):
    """``--strict`` met a bad line."""


@click.command("import")
@click.argument("file")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Skip so many lines: go on where it stopped.")
@click.option("--strict", is_flag=True, help="Stop at the first bad line, with all before it written.")
@target_options
def import_command(file: str, skip: int, strict: bool, connect: str, data: str | None) -> int:
    """Write the entries of FILE ('-' is stdin), one JSON object a line as `sherd export` prints.

    Bad lines are reported with their number and left out; the exit code is 2 then. Entries are written in the file's
    order, so of a key that comes twice the last one stays, and importing a file again changes nothing.
    """
    with _open(file) as stream, sink_of(connect, data, skip) as sink:
        importer = _Importer(sink, strict)
        try:
            importer.run(stream, skip)
        except BaseException as error:
            importer.report_refused()
            click.echo(f"sherd: stopped; go on with --skip {sink.written_line}", err=True)
            if isinstance(error, _Stopped):
                return ExitCode.USAGE
            raise
    lost = f", {importer.bad_lines} bad lines left out" if importer.bad_lines else ""
    click.echo(f"imported {sink.written_rows} entries{lost}", err=True)
    return ExitCode.USAGE if importer.bad_lines else ExitCode.OK


class _Importer:
    """Reads lines, makes batches of them, hands them to a sink, reports what is left out."""

    def __init__(self, sink: EntrySink, strict: bool) -> None:
        self._sink = sink
        self._strict = strict
        self._batch = Batch()
        self.bad_lines = 0

    def run(self, stream: BinaryIO, skip: int) -> None:
        """Import the lines after the first ``skip``."""
        number = 0
        with _progress(stream) as progress:
            for number, line in enumerate(stream, start=1):
                progress.update(len(line))
                if number <= skip:
                    continue
                self._take(number, line)
            self._batch.last_line = max(number, skip)
            self._send()
            self._sink.finish()
        self.report_refused()

    def report_refused(self) -> None:
        """Report the rows that the store refused since the last time."""
        refused = self._sink.refused
        for row in refused:
            self._report(row.line, row.reason)
        refused.clear()

    def _take(self, number: int, line: bytes) -> None:
        if line.strip():
            try:
                self._batch.add(number, decode_line(line))
            except BadLine as error:
                self._bad(number, error)
        self._batch.last_line = number
        if self._batch.is_full:
            self._send()

    def _bad(self, number: int, error: BadLine) -> None:
        self._report(number, str(error))
        if self._strict:
            self._batch.last_line = number - 1
            self._send()
            self._sink.finish()
            raise _Stopped(f"line {number} is bad")

    def _send(self) -> None:
        batch, self._batch = self._batch, Batch()
        self._sink.submit(batch)
        if self._sink.refused:
            self.report_refused()
            if self._strict:
                self._sink.finish()
                raise _Stopped("the store refused a line")

    def _report(self, line: int, reason: str) -> None:
        self.bad_lines += 1
        tqdm.write(f"sherd: line {line}: {reason}", file=sys.stderr)


@contextlib.contextmanager
def _open(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with open(file, "rb") as stream:
        yield stream


def _progress(stream: BinaryIO) -> "tqdm[Never]":
    """A bar over the file's bytes, on a terminal."""
    total: int | None = None
    with contextlib.suppress(OSError, ValueError):
        total = os.fstat(stream.fileno()).st_size or None
    return tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=not sys.stderr.isatty())
