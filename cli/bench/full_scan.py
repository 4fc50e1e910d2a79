"""Reads everything through one connection and only counts, as fast as pages come; values are not decoded."""

import socket
import time

import msgpack

from sherd.cli.bench.lane import connect
from sherd.cli.bench.plan import Plan
from sherd.cli.bench.progress import Progress
from sherd.cli.bench.tally import Tally
from sherd.common.errors import Internal, SherdError, from_wire
from sherd.common.limits import PAGE_BYTES_MAX, Limits
from sherd.common.wire.encode import request
from sherd.common.wire.primitives import payload, value_end
from sherd.common.wire.scanner import Scanner

RECEIVE_BYTES = 1 << 20
SILENCE_SECONDS = 60
DEPTH_MAX = 140


def run_full_scan(plan: Plan, progress: Progress) -> tuple[Tally, float, float]:
    """Scan from the first key to the last: a request is a page. An error reply ends it, and is counted.

    ConnectionError if no server is reached or the connection is lost, TimeoutError if the server falls silent.
    """
    tally = Tally()
    cursor: bytes | None = None
    with connect(plan.addresses[0]) as sock:
        sock.settimeout(SILENCE_SECONDS)
        scanner = Scanner(Limits(), True)
        busy_before = time.process_time()
        began = time.monotonic_ns()
        while True:
            sent = time.monotonic_ns()
            _next_page(sock, scanner, tally.requests, cursor)
            now = time.monotonic_ns()
            try:
                rows, cursor = _read_page(scanner)
            except SherdError as error:
                tally.fail(str(error))
                break
            tally.note_page(rows, now, now - sent)
            progress.show(tally.requests)
            if cursor is None:
                break
        return tally, (now - began) / 1e9, time.process_time() - busy_before


def _next_page(sock: socket.socket, scanner: Scanner, number: int, cursor: bytes | None) -> None:
    """Ask for the page after ``cursor``, and read until ``scanner`` has it."""
    options: dict[str, object] = {"max_bytes": PAGE_BYTES_MAX}
    if cursor is not None:
        options["cursor"] = cursor
    sock.sendall(request(number & 0x7FFFFFFF, "scan", [None, None, options]))
    while not scanner.next():
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        scanner.feed(data)


def _read_page(scanner: Scanner) -> tuple[int, bytes | None]:
    """Rows in the page and the cursor to go on with."""
    data, at = scanner.data, scanner.error_start
    if data[at] != 0xC0:
        raise from_wire(msgpack.unpackb(data[at : scanner.result_start], strict_map_key=False))
    at = scanner.result_start
    if data[at] != 0x92:
        raise Internal("a page of a scan is not an array of two")
    head = data[at + 1]
    width = {0xDC: 2, 0xDD: 4}.get(head, 0)
    rows = int.from_bytes(data[at + 2 : at + 2 + width], "big") if width else head & 0x0F
    return rows, payload(data, value_end(data, at + 1, DEPTH_MAX))
