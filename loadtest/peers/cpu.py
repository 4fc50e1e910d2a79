"""What processes have used, from /proc: processor time by role, bytes written.

Linux accounts processor time in clock ticks (10 ms), so a difference over a second is good to a few per cent. A process
that ends between two looks takes its time with it; children that were started in between count from zero.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
SHERD_MODULES = ("sherd.cli.main", "sherd.shard.janitor")


@dataclass(frozen=True, slots=True)
class Stat:
    """The part of /proc/PID/stat that is of use; ``cpu_seconds`` is user and system time of all threads."""

    pid: int
    name: str
    parent: int
    cpu_seconds: float

    @classmethod
    def parse(cls, text: str) -> "Stat":
        """One line as the kernel writes it. The name stands in brackets and may contain blanks and brackets itself."""
        head, _, tail = text.rpartition(")")
        pid, _, name = head.partition(" (")
        fields = tail.split()
        return cls(int(pid), name, int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND)


def stat_of(pid: int) -> Stat | None:
    """None if the process is gone."""
    try:
        return Stat.parse((PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def role_of(name: str, arguments: list[str]) -> str:
    """What to call a process: Sherd's by their command (``shard``, ``proxy``, ...), others by their name."""
    for module in SHERD_MODULES:
        if module in arguments:
            after = arguments[arguments.index(module) + 1 :]
            if module.endswith("janitor"):
                return "janitor"
            return {"up": "supervisor"}.get(after[0], after[0]) if after else name
    return name


def arguments_of(pid: int) -> list[str]:
    """The command line; empty if the process is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(roots: Iterable[int]) -> list[Stat]:
    """``roots`` and all their children's children, as they are now."""
    everybody = [found for entry in PROC.iterdir() if entry.name.isdigit() and (found := stat_of(int(entry.name)))]
    children: dict[int, list[Stat]] = {}
    for stat in everybody:
        children.setdefault(stat.parent, []).append(stat)
    wanted = set(roots)
    tree = [stat for stat in everybody if stat.pid in wanted]
    for stat in tree:
        tree += children.get(stat.pid, [])
    return tree


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds by process id, with the role of each."""

    seconds: Mapping[int, tuple[str, float]]

    @classmethod
    def of(cls, roots: Iterable[int]) -> "Usage":
        """Of ``roots`` and their descendants, until now."""
        return cls(
            {stat.pid: (role_of(stat.name, arguments_of(stat.pid)), stat.cpu_seconds) for stat in descendants(roots)}
        )

    def since(self, before: "Usage") -> dict[str, float]:
        """Seconds used from ``before`` to here, by role, processes of one role added up."""
        used: dict[str, float] = {}
        for pid, (role, seconds) in self.seconds.items():
            earlier = before.seconds.get(pid, (role, 0.0))[1]
            used[role] = used.get(role, 0.0) + seconds - earlier
        return used


def parse_io(text: str) -> dict[str, int]:
    """/proc/PID/io: ``wchar`` is what was passed to write calls, ``write_bytes`` what went to storage."""
    return {name: int(count) for name, _, count in (line.partition(": ") for line in text.splitlines())}


def written_bytes() -> int:
    """Bytes that this process has passed to write calls so far, whatever the page cache made of them."""
    return parse_io((PROC / "self" / "io").read_text())["wchar"]
