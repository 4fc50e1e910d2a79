"""What happened in a simulation, line by line, as a hash: equal hashes, equal runs."""

from collections import deque
from hashlib import blake2b

LINES_KEPT = 2000


class Trace:
    """Takes a line for everything that happens; keeps the last of them for whoever looks for the cause of a failure.

    A line must say nothing that differs between two runs of one seed: no addresses, no counters of the interpreter.
    """

    def __init__(self, lines_kept: int = LINES_KEPT) -> None:
        self.lines: deque[str] = deque(maxlen=lines_kept)
        self.count = 0
        self._hash = blake2b(digest_size=16)

    def note(self, now: float, who: str, what: str) -> None:
        line = f"{now:.9f} {who} {what}"
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        self.lines.append(line)
        self.count += 1

    def digest(self) -> str:
        """The hash of all lines so far."""
        return self._hash.hexdigest()
