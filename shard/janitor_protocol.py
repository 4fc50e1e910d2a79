"""What a shard and its janitor say to each other over the janitor's stdin and stdout.

A message is a u32 (little-endian) length and that many bytes of MessagePack, an array whose first item is its kind:

    to the janitor    ["job", job]                       see lsm/job_types.py for the wire forms
                      ["pace", n, rest]                  from now on: niceness, 0 to 19, or 20: yield to all; and
                                                         microseconds of rest after each stretch of work, 0: none
    from the janitor  ["done", result]
                      ["failed", job id, error, text, errno]

The end of the stream is the order to quit: the janitor gives up what it is doing and leaves no temporary file.
"""

import json
import sys
from dataclasses import asdict
from typing import Any, Final

import msgpack

from sherd.common.errors import Corruption, Internal, SherdError, StoreCorrupt, StoreError, StoreFormat, StoreFull
from sherd.shard.lsm.job_types import Job, JobResult, job_from_wire, result_from_wire
from sherd.shard.lsm.options import EngineOptions

HEADER_BYTES: Final = 4
MESSAGE_BYTES_MAX: Final = 256 << 20
NICE_MAX: Final = 19
NICE_YIELD: Final = NICE_MAX + 1
"""Run only when nobody else wants the processor (SCHED_IDLE). Whoever wakes gets it at once; from a process that is
only nice he gets it at the end of its slice, milliseconds that each hop of a request may have to wait."""

_ERRORS: Final[dict[str, type[SherdError]]] = {
    kind.__name__: kind for kind in (Corruption, StoreCorrupt, StoreFormat, StoreFull, StoreError)
}


def janitor_command(directory: str, options: EngineOptions, parent_pid: int, nice: int = 10) -> list[str]:
    """The command line of a janitor for ``directory``, which dies with the process ``parent_pid`` that starts it."""
    settings = json.dumps(asdict(options))
    return [
        *(sys.executable, "-m", "sherd.shard.janitor"),
        *("--directory", directory, "--parent-pid", str(parent_pid), "--nice", str(nice), "--options", settings),
    ]


def encode_message(message: list[Any]) -> bytes:
    """``message`` as it goes over the pipe."""
    body: bytes = msgpack.packb(message)
    if len(body) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {len(body)} bytes")
    return len(body).to_bytes(HEADER_BYTES, "little") + body


def message_size(header: bytes) -> int:
    """The length of the body that follows ``header``; ValueError if no message is that long."""
    size = int.from_bytes(header, "little")
    if len(header) != HEADER_BYTES or size > MESSAGE_BYTES_MAX:
        raise ValueError(f"no message header: {header!r}")
    return size


def decode_message(body: bytes) -> list[Any]:
    """The message of a body; ValueError if it is none."""
    message = msgpack.unpackb(body, raw=False, strict_map_key=True)
    if not isinstance(message, list) or not message:
        raise ValueError("a message that is not an array with a kind")
    return message


class MessageBuffer:
    """Cuts a stream into messages, however it arrives."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self) -> list[Any] | None:
        """The next whole message, or None."""
        if len(self._data) < HEADER_BYTES:
            return None
        end = HEADER_BYTES + message_size(bytes(self._data[:HEADER_BYTES]))
        if len(self._data) < end:
            return None
        body = bytes(self._data[HEADER_BYTES:end])
        del self._data[:end]
        return decode_message(body)


def job_message(job: Job) -> list[Any]:
    """Asks for a job."""
    return ["job", job.to_wire()]


def pace_message(nice: int, rest_us: int) -> list[Any]:
    """Asks for another niceness, and for rests of so many microseconds."""
    return ["pace", max(0, min(nice, NICE_YIELD)), max(0, rest_us)]


def done_message(result: JobResult) -> list[Any]:
    """Says that a job is done."""
    return ["done", result.to_wire()]


def failed_message(job_id: int, error: Exception) -> list[Any]:
    """Says that a job failed, and why."""
    if isinstance(error, OSError):
        return ["failed", job_id, "OSError", str(error), error.errno]
    known = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS), "Internal")
    return ["failed", job_id, known, str(error) or type(error).__name__, None]


def job_of(message: list[Any]) -> Job:
    """The job that a ``job`` message asks for."""
    return job_from_wire(message[1])


def answer_of(message: list[Any]) -> tuple[int, JobResult | Exception]:
    """The job id and the outcome that a message from the janitor speaks of; ValueError for another message."""
    if message[0] == "done":
        result = result_from_wire(message[1])
        return result.id, result
    if message[0] != "failed":
        raise ValueError(f"a message of kind {message[0]!r}")
    _, job_id, name, text, code = message
    if name == "OSError":
        return job_id, OSError(code, text)
    return job_id, _ERRORS.get(name, Internal)(text)
