"""The line by which a child process tells its supervisor that it serves, or why it never will.

The supervisor hands the writing end of a pipe to the child as ``--ready-fd``. The child writes one line of JSON:
``{"pid": PID, "address": ADDRESS}`` once it serves, or ``{"pid": PID, "error": TEXT}`` when it refuses to start.
"""

import json
import os
from dataclasses import dataclass

LINE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ready:
    """What a child said. Exactly one of ``address`` and ``error`` is set."""

    pid: int
    address: str = ""
    error: str = ""


def announce_ready(fd: int, address: str) -> None:
    """Tell the supervisor that this process serves at ``address``; closes ``fd``."""
    _send(fd, {"pid": os.getpid(), "address": address})


def announce_refusal(fd: int, error: str) -> None:
    """Tell the supervisor why this process does not start; closes ``fd``."""
    _send(fd, {"pid": os.getpid(), "error": error})


def parse_ready(line: bytes) -> Ready:
    """The supervisor's side; ValueError if the line is not one of the two forms."""
    found = json.loads(line)
    if not isinstance(found, dict) or not isinstance(found.get("pid"), int):
        raise ValueError(f"not a ready line: {line!r}")
    address, error = found.get("address", ""), found.get("error", "")
    if not isinstance(address, str) or not isinstance(error, str) or bool(address) == bool(error):
        raise ValueError(f"not a ready line: {line!r}")
    return Ready(found["pid"], address, error)


def _send(fd: int, message: dict[str, object]) -> None:
    try:
        os.write(fd, json.dumps(message).encode()[: LINE_BYTES_MAX - 1] + b"\n")
    finally:
        os.close(fd)
