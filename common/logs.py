"""Logs: one line an event on stderr, ``time level room message key=value ...``.

The room is the second part of the logger's name, so ``logging.getLogger(__name__)`` in ``sherd.proxy.router`` logs for
``proxy``; a process that is one of several says which by ``who``, as in ``shard-3``. Fields go through ``event``:
names are fixed and values are data, so that lines can be searched and counted.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

LEVELS = ("debug", "info", "warning", "error")
_PLAIN = re.compile(r"[^\s\"=]+")


def event(logger: logging.Logger, level: int, message: str, /, **fields: object) -> None:
    """Log ``message`` with ``key=value`` fields."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", message, extra={"fields": fields})


def configure_logs(level: str = "info", who: str = "") -> None:
    """Send this process's logs to stderr. ``who`` names the process and replaces the room if given."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter(who))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class EventFormatter(logging.Formatter):
    """Formats a record as one line; a traceback follows on lines of its own."""

    def __init__(self, who: str = "") -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        parts = [when, record.levelname, self._who or _room_of(record.name), _one_line(record.getMessage())]
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            parts.extend(f"{key}={_quoted(value)}" for key, value in fields.items())
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "sherd" and len(parts) > 1 else parts[0]


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
