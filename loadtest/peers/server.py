"""What every server that takes part has: a name, a way to start and stop, and what tells its cost."""

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from peers.cpu import Usage
from peers.processes import Child, NotServing

CALM_SECONDS = 0.25
CALM_CPU_SHARE = 0.08
CALM_SECONDS_MAX = 30.0

Protocol = Literal["msgpack", "resp", "iproto"]


class Server(ABC):
    """Not yet running when made. ``address`` is what the load generator connects to, known once it serves."""

    name: ClassVar[str]
    protocol: ClassVar[Protocol]
    programs: ClassVar[tuple[str, ...]] = ()
    """Executables that have to be installed."""

    def __init__(self) -> None:
        self.address = ""
        self.children: list[Child] = []

    def absent(self) -> str | None:
        """Why it cannot take part, or None."""
        missing = [program for program in self.programs if shutil.which(program) is None]
        return f"{', '.join(missing)} not installed" if missing else None

    def start(self, directory: Path) -> None:
        """Serve, with all data and logs below ``directory``. Raises NotServing."""
        try:
            self.serve(directory)
        except NotServing:
            self.stop()
            raise

    @abstractmethod
    def serve(self, directory: Path) -> None:
        """Start ``children`` and set ``address``."""

    def spawn(self, command: Sequence[str], directory: Path, log_name: str) -> Child:
        """Start one process of the server."""
        child = Child(command, directory, log_name)
        self.children.append(child)
        return child

    def into_tables(self) -> None:  # noqa: B027 - a hook
        """Bring what was loaded to where it would be in the long run; for stores that have such a place."""

    def empty_memtables(self) -> None:  # noqa: B027 - a hook
        """Before writes are measured: as after a start; for stores that have memtables."""

    def usage(self) -> Usage:
        """Processor time of all its processes so far."""
        return Usage.of([child.pid for child in self.children])

    def calm_down(self) -> None:
        """Wait until it does next to nothing, so that its upkeep does not fall into the turn of another."""
        deadline = time.monotonic() + CALM_SECONDS_MAX
        before = self.usage()
        while time.monotonic() < deadline:
            time.sleep(CALM_SECONDS)
            now = self.usage()
            if sum(now.since(before).values()) <= CALM_SECONDS * CALM_CPU_SHARE:
                return
            before = now

    def stop(self) -> None:
        """Stop the children, the last started first."""
        for child in reversed(self.children):
            child.stop()
        self.children.clear()
