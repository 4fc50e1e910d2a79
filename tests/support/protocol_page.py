"""Reads docs/protocol.md: its worked exchanges as bytes, its sample answers, and the rows of its tables.

An exchange is a fenced block named ``exchange`` below its heading, one line a piece: ``>`` or ``<``, bytes in hex, two
spaces, what they mean. On the server's lines ``..`` is any byte, ``...`` the rest of the response, and ``closed`` the
end of the connection.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "protocol.md"

_HEADING = re.compile(r"#+ (.+)")
_PIECE = re.compile(r"([<>]) (closed|\.\.\.|(?:[0-9a-f]{2}|\.\.)(?: (?:[0-9a-f]{2}|\.\.))*) {2,}(\S.*)")
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the client sends, and what comes back: a byte, or None for any."""

    name: str
    sent: bytes
    answer: tuple[int | None, ...]
    and_more: bool
    """Whether the response goes on, unspecified."""
    closed: bool


def fences(kind: str) -> list[tuple[str, list[str]]]:
    """The lines of every block of that kind, with the heading it stands below."""
    found: list[tuple[str, list[str]]] = []
    heading = ""
    lines: list[str] | None = None
    for line in PAGE.read_text().splitlines():
        if lines is not None and line == "```":
            lines = None
        elif lines is not None:
            lines.append(line)
        elif line == f"```{kind}":
            lines = []
            found.append((heading, lines))
        elif match := _HEADING.fullmatch(line):
            heading = match[1]
    return found


def exchanges() -> list[Exchange]:
    """Every worked exchange, in order. ValueError for a line that is none, or whose meaning quotes other bytes."""
    return [_exchange(name, lines) for name, lines in fences("exchange")]


def _exchange(name: str, lines: list[str]) -> Exchange:
    sent = bytearray()
    answer: list[int | None] = []
    and_more = closed = False
    for line in lines:
        match = _PIECE.fullmatch(line)
        if match is None or closed or (and_more and match[2] != "closed"):
            raise ValueError(f"{name}: {line!r} is no piece of an exchange, or stands behind its end")
        way, piece, meaning = match.groups()
        if way == ">":
            if answer:
                raise ValueError(f"{name}: the client speaks after the server")
            sent += _checked(name, bytes.fromhex(piece), meaning)
        elif piece == "closed":
            closed = True
        elif piece == "...":
            and_more = True
        else:
            answer += [None if byte == ".." else int(byte, 16) for byte in piece.split()]
            if ".." not in piece:
                _checked(name, bytes.fromhex(piece), meaning)
    return Exchange(name, bytes(sent), tuple(answer), and_more, closed)


def _checked(name: str, piece: bytes, meaning: str) -> bytes:
    for text in _QUOTED.findall(meaning):
        if text.encode() not in piece:
            raise ValueError(f"{name}: {piece.hex(' ')} does not hold {text!r}")
    return piece


def sample(name: str) -> object:
    """The sample answer to a method."""
    ((_, lines),) = fences(f"json {name}")
    return json.loads("\n".join(lines))


def table_rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = PAGE.read_text().partition(f"\n## {heading}\n")[2]
    rows = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]
