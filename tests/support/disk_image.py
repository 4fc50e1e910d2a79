"""The two states of a disk in memory: live, and synced.

*Live* is what running processes see. *Synced* is what the promises of ``common/disk.py`` make durable: bytes covered by
a ``sync`` of their file, names covered by a ``sync_dir`` of their directory. ``pending`` is the way from one to the
other, oldest change first. After a failed ``sync`` the pages count as clean, as on Linux: they stay readable, and no
later sync writes them.
"""

import os
import random
from dataclasses import dataclass, replace

from support.survival import Change, Survival, Write, apply, surviving_bytes

GHOSTS_MAX = 8


class Node:
    """A file or a directory, whatever names it has."""

    __slots__ = ("directory", "live", "pending", "synced")

    def __init__(self, directory: bool = False) -> None:
        self.directory = directory
        self.live = bytearray()
        self.synced = b""
        self.pending: list[Change] = []

    def copy(self) -> "Node":
        twin = Node(self.directory)
        twin.live = bytearray(self.live)
        twin.synced = self.synced
        twin.pending = list(self.pending)
        return twin

    def change(self, change: Change) -> None:
        apply(self.live, change)
        self.pending.append(change)

    def sync(self) -> None:
        durable = bytearray(self.synced)
        for change in self.pending:
            if not change.lost:
                apply(durable, change)
        self.synced = bytes(durable)
        self.pending = [change for change in self.pending if change.lost]

    def fail_sync(self) -> None:
        self.pending = [replace(change, lost=True) for change in self.pending]


@dataclass(frozen=True, slots=True)
class NameChange:
    """A directory entry that came (``target``), went (``source``), or moved (both)."""

    node: Node
    source: str | None
    target: str | None

    @property
    def paths(self) -> set[str]:
        return {path for path in (self.source, self.target) if path is not None}

    def apply(self, names: dict[str, Node]) -> None:
        if self.source is not None:
            names.pop(self.source, None)
        if self.target is not None:
            names[self.target] = self.node


class Image:
    """Both states of a disk at one moment."""

    __slots__ = ("ghosts", "names", "pending", "synced")

    def __init__(self) -> None:
        root = Node(directory=True)
        self.names: dict[str, Node] = {"/": root}
        self.synced: dict[str, Node] = {"/": root}
        self.pending: list[NameChange] = []
        self.ghosts: list[bytes] = []

    def copy(self, writing: Node | None = None, write: Write | None = None) -> "Image":
        """A twin that changes on its own; with ``write`` already done to ``writing`` in it."""
        twins: dict[int, Node] = {}

        def twin(node: Node) -> Node:
            found = twins.get(id(node))
            if found is None:
                found = twins[id(node)] = node.copy()
            return found

        other = Image()
        other.names = {path: twin(node) for path, node in self.names.items()}
        other.synced = {path: twin(node) for path, node in self.synced.items()}
        other.pending = [replace(change, node=twin(change.node)) for change in self.pending]
        other.ghosts = list(self.ghosts)
        if writing is not None and write is not None:
            twin(writing).change(write)
        return other

    def power_cut(self, survival: Survival, seed: int = 0) -> "Image":
        """The disk as the next boot finds it: what was synced, and of the rest what ``survival`` picks."""
        dice = random.Random(f"{survival} {seed}")
        names = dict(self.synced)
        kept = dice.randint(0, len(self.pending))
        for position, change in enumerate(self.pending):
            survives = {
                "none": False,
                "all": True,
                "prefix": position < kept,
                "some": dice.random() < 0.5,
            }[survival.names]
            if survives:
                change.apply(names)
        after = Image()
        after.names = {}
        twins: dict[int, Node] = {}
        for path in sorted(names):
            if path != "/" and os.path.dirname(path) not in after.names:
                continue  # its directory is gone
            node = names[path]
            twin = twins.get(id(node))
            if twin is None:
                twin = twins[id(node)] = Node(node.directory)
                twin.synced = surviving_bytes(node.synced, node.pending, survival, dice, self.ghosts)
                twin.live = bytearray(twin.synced)
            after.names[path] = twin
        after.synced = dict(after.names)
        after.ghosts = list(self.ghosts)
        return after

    def rename(self, node: Node, source: str | None, target: str | None) -> None:
        """Change names in the live state; durable after ``sync_directory``."""
        change = NameChange(node, source, target)
        gone = self.names.get(target) if target is not None else node
        if gone is not None and not gone.directory:
            self.ghosts = [*self.ghosts[1 - GHOSTS_MAX :], bytes(gone.live)]
        change.apply(self.names)
        self.pending.append(change)

    def sync_directory(self, path: str) -> None:
        """Make the names in ``path`` durable, with every earlier change of names that they depend on."""
        needed: set[str] = set()
        durable: list[NameChange] = []
        kept: list[NameChange] = []
        for change in reversed(self.pending):
            paths = change.paths
            if paths & needed or any(os.path.dirname(name) == path for name in paths):
                needed |= paths
                durable.append(change)
            else:
                kept.append(change)
        for change in reversed(durable):
            change.apply(self.synced)
        self.pending = kept[::-1]
