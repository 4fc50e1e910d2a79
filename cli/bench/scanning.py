"""Reads everything through one connection and only counts, as fast as pages come; values are not decoded."""

import socket
import time

import msgpack

from sherd.common.errors import Internal, from_wire
from sherd.common.limits import Limits
from sherd.common.net.address import Address
from sherd.common.wire.encode import request
from sherd.common.wire.primitives import payload, value_end
from sherd.common.wire.scanner import Scanner

RECEIVE_BYTES = 1 << 20
DEPTH_MAX = 140


def count_by_scanning(address: Address, page_bytes: int) -> dict[str, object]:
    """Scan from the first key to the last in pages of ``page_bytes``: rows, bytes, pages and their rates."""
    started = time.perf_counter()
    rows = pages = size = 0
    cursor: bytes | None = None
    with socket.socket(socket.AF_UNIX if address.is_unix else socket.AF_INET) as sock:
        sock.settimeout(60)
        sock.connect(address.path if address.is_unix else (address.host, address.port))
        scanner = Scanner(Limits(), True)
        while True:
            options: dict[str, object] = {"max_bytes": page_bytes}
            if cursor is not None:
                options["cursor"] = cursor
            sock.sendall(request(pages & 0x7FFFFFFF, "scan", [None, None, options]))
            while not scanner.next():
                data = sock.recv(RECEIVE_BYTES)
                if not data:
                    raise ConnectionError("the server closed the connection")
                scanner.feed(data)
            found, cursor = _read_page(scanner)
            rows += found
            size += scanner.frame_end - scanner.frame_start
            pages += 1
            if cursor is None:
                break
    seconds = time.perf_counter() - started
    return {
        "rows": rows,
        "pages": pages,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds),
        "mb_per_second": round(size / seconds / 1e6, 1),
    }


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
