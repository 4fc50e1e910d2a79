"""A ``Disk`` in memory that forgets and fails: the oracle of what a crash may leave.

A killed process leaves the live state behind: ``CrashDisk(disk.image())``. A power cut leaves the synced state and what
an adversary picks of the rest: ``CrashDisk(disk.image().power_cut(survival, seed))``.

Every call that changes something is one numbered ``Operation``: create, write, allocate, truncate, sync, rename,
unlink, mkdir, sync_dir. ``crash_at`` raises ``Crash`` around one of them and at every call after it. ``on_moment`` is
handed an image at each of them instead, so that one run yields all its crash points. ``faults`` makes chosen
operations fail with an ``OSError``; ``capacity_bytes`` makes the disk fill up.
"""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from support.disk_image import Image, Node
from support.survival import Resize, Write

UNLIMITED_BYTES = 1 << 50


class Crash(BaseException):
    """The machine or the process stopped here. Not an ``Exception``, so that nothing swallows it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that changes the disk. ``data`` is what a write was asked to take."""

    index: int
    kind: str
    path: str
    data: bytes = b""

    def __str__(self) -> str:
        size = f" {len(self.data)} bytes" if self.data else ""
        return f"#{self.index} {self.kind} {self.path}{size}"


@dataclass(slots=True)
class Fault:
    """Make operations of ``kind`` (empty: any) whose path ends in ``path_end`` fail with ``error`` (an errno).

    ``after`` matching operations pass first, then ``times`` fail (None: all of them). A failing write takes the first
    ``short_bytes`` bytes before it raises.
    """

    kind: str
    error: int
    path_end: str = ""
    after: int = 0
    times: int | None = 1
    short_bytes: int = 0
    hits: int = 0

    def strikes(self, kind: str, path: str) -> bool:
        """Count one operation; true if it is to fail."""
        if kind != (self.kind or kind) or not path.endswith(self.path_end):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class CrashDisk:
    """The face one process has of an ``Image``; see the head of this file."""

    def __init__(self, image: Image | None = None, *, capacity_bytes: int = UNLIMITED_BYTES) -> None:
        self._image = Image() if image is None else image
        self._mutex = threading.RLock()
        self._locks: set[str] = set()
        self._open: list[Node] = []
        self._crash_index = -1
        self._crash_when = "before"
        self.crashed = False
        self.capacity_bytes = capacity_bytes
        self.faults: list[Fault] = []
        self.read_faults: list[Fault] = []
        """Of kind ``open`` and ``pread``; reads are no operations and count for nothing else."""
        self.operations: list[Operation] = []
        self.on_moment: Callable[[Operation, Image], None] | None = None
        """Called with the state before each operation, and again with half of it done if it is a write."""

    # -- for tests ---------------------------------------------------------------------------------------------------

    def image(self) -> Image:
        """A copy of the state now; it does not change any more."""
        return self._image.copy()

    def crash_at(self, index: int, when: Literal["before", "midway", "after"] = "before") -> None:
        """Raise ``Crash`` at operation ``index`` (counted from 0) of this disk. ``midway`` takes half of a write."""
        self._crash_index, self._crash_when = index, when

    def read(self, path: str) -> bytes:
        """All live bytes of a file."""
        return bytes(self._node(path).live)

    def replace(self, path: str, data: bytes) -> None:
        """Give a file other bytes, durably: damage done by nobody's write."""
        node = self._node(path)
        node.live, node.synced, node.pending = bytearray(data), bytes(data), []

    def files(self, directory: str) -> list[str]:
        """Paths of the files below ``directory``, sorted."""
        inside = directory.rstrip("/") + "/"
        return sorted(p for p, node in self._image.names.items() if p.startswith(inside) and not node.directory)

    def used_bytes(self) -> int:
        nodes = {id(node): node for node in (*self._image.names.values(), *self._open)}
        return sum(len(node.live) for node in nodes.values())

    # -- the Disk protocol -------------------------------------------------------------------------------------------

    def create(self, path: str) -> "CrashFile":
        with self._mutex:
            self._check_parent(path)
            if path in self._image.names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            node = Node()
            self._do("create", path, lambda: self._image.rename(node, None, path))
            return self._opened(path, node, writable=True)

    def open_read(self, path: str) -> "CrashFile":
        with self._mutex:
            self._check_readable("open", path)
            return self._opened(path, self._file(path), writable=False)

    def open_append(self, path: str, position: int | None = None) -> "CrashFile":
        with self._mutex:
            node = self._file(path)
            file = self._opened(path, node, writable=True)
            file.position = len(node.live) if position is None else position
            return file

    def rename(self, source: str, target: str) -> None:
        with self._mutex:
            node = self._node(source)
            self._check_parent(target)
            self._do("rename", target, lambda: self._image.rename(node, source, target))

    def unlink(self, path: str) -> None:
        with self._mutex:
            node = self._file(path)
            self._do("unlink", path, lambda: self._image.rename(node, path, None))

    def listdir(self, path: str) -> list[str]:
        with self._mutex:
            if not self._node(path).directory:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            wanted = path.rstrip("/") or "/"
            return [os.path.basename(name) for name in self._image.names if os.path.dirname(name) == wanted != name]

    def exists(self, path: str) -> bool:
        with self._mutex:
            self._check_alive()
            return self._clean(path) in self._image.names

    def mkdir(self, path: str) -> None:
        with self._mutex:
            path = self._clean(path)
            self._check_parent(path)
            if path not in self._image.names:
                self._do("mkdir", path, lambda: self._image.rename(Node(directory=True), None, path))

    def sync_dir(self, path: str) -> None:
        with self._mutex:
            path = self._clean(path)
            self._node(path)
            self._do("sync_dir", path, lambda: self._image.sync_directory(path))

    def lock(self, path: str) -> "CrashLock":
        with self._mutex:
            self._check_parent(path)
            if path in self._locks:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
            if path not in self._image.names:
                self._do("create", path, lambda: self._image.rename(Node(), None, path))
            self._locks.add(path)
            return CrashLock(self._locks, path)

    def free_bytes(self, path: str) -> int:
        with self._mutex:
            self._node(path)
            return max(0, self.capacity_bytes - self.used_bytes())

    # -- inside ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _clean(path: str) -> str:
        return path.rstrip("/") or "/"

    def _check_alive(self) -> None:
        if self.crashed:
            raise Crash("the process is dead")

    def _check_parent(self, path: str) -> None:
        if not self._node(os.path.dirname(self._clean(path))).directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def _node(self, path: str) -> Node:
        self._check_alive()
        node = self._image.names.get(self._clean(path))
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def _file(self, path: str) -> Node:
        node = self._node(path)
        if node.directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return node

    def _opened(self, path: str, node: Node, writable: bool) -> "CrashFile":
        self._open.append(node)
        return CrashFile(self, path, node, writable)

    def _do(
        self,
        kind: str,
        path: str,
        action: Callable[[], None],
        data: bytes = b"",
        partial: Callable[[int], None] | None = None,
        torn: tuple[Node, Write] | None = None,
        failed: Callable[[], None] | None = None,
    ) -> None:
        """One numbered operation: crash or fail here if that was asked for, else act.

        ``partial(n)`` does the first n bytes of a write, ``torn`` is half of it for the watcher, and ``failed`` marks
        what a failed sync leaves behind.
        """
        self._check_alive()
        operation = Operation(len(self.operations), kind, path, data)
        self.operations.append(operation)
        if self.on_moment is not None:
            self.on_moment(operation, self._image.copy())
            if torn is not None and len(data) > 1:
                self.on_moment(operation, self._image.copy(*torn))
        crash = operation.index == self._crash_index
        if crash and self._crash_when != "after":
            if self._crash_when == "midway" and partial is not None:
                partial(len(data) // 2)
            self._crash(operation)
        for fault in self.faults:
            if fault.strikes(kind, path):
                if partial is not None:
                    partial(min(fault.short_bytes, len(data)))
                if failed is not None:
                    failed()
                raise OSError(fault.error, os.strerror(fault.error), path)
        action()
        if crash:
            self._crash(operation)

    def _crash(self, operation: Operation) -> None:
        self.crashed = True
        self._locks.clear()
        raise Crash(str(operation))

    def write_at(self, node: Node, path: str, offset: int, data: bytes) -> None:
        """Of ``CrashFile``: a write, or as much of it as the disk has room for."""
        with self._mutex:
            self._do(
                "write",
                path,
                lambda: self._grow(node, path, offset, data),
                data,
                partial=lambda size: node.change(Write(offset, data[:size])),
                torn=(node, Write(offset, data[: len(data) // 2])),
            )

    def _grow(self, node: Node, path: str, offset: int, data: bytes) -> None:
        room = len(data)
        if self.capacity_bytes < UNLIMITED_BYTES:
            free = self.capacity_bytes - self.used_bytes()
            room = min(room, max(0, len(node.live) - offset) + max(0, free))
        node.change(Write(offset, data[:room]))
        if room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def resize(self, node: Node, path: str, kind: str, size: int) -> None:
        """Of ``CrashFile``: allocate or truncate."""

        def act() -> None:
            grown = size - len(node.live)
            if grown > 0 and grown > self.capacity_bytes - self.used_bytes():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            if kind == "truncate" or grown > 0:
                node.change(Resize(size))

        with self._mutex:
            self._do(kind, path, act)

    def sync_node(self, node: Node, path: str) -> None:
        """Of ``CrashFile``: make its bytes durable."""
        with self._mutex:
            self._do("sync", path, node.sync, failed=node.fail_sync)

    def read_at(self, node: Node, path: str, size: int, offset: int) -> bytes:
        """Of ``CrashFile``."""
        with self._mutex:
            self._check_alive()
            self._check_readable("pread", path)
            return bytes(node.live[offset : offset + size])

    def _check_readable(self, kind: str, path: str) -> None:
        for fault in self.read_faults:
            if fault.strikes(kind, path):
                raise OSError(fault.error, os.strerror(fault.error), path)

    def closed(self, node: Node) -> None:
        """Of ``CrashFile``: the handle is gone. Silent after a crash, as the kernel closes a dead process's files."""
        with self._mutex:
            self._open.remove(node)


class CrashFile:
    """An open file of a ``CrashDisk``."""

    __slots__ = ("_disk", "_node", "_open", "_writable", "path", "position")

    def __init__(self, disk: CrashDisk, path: str, node: Node, writable: bool) -> None:
        self.path = path
        self.position = 0
        self._disk = disk
        self._node = node
        self._writable = writable
        self._open = True

    def _check(self, writing: bool) -> None:
        if not self._open or (writing and not self._writable):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)

    def pread(self, size: int, offset: int) -> bytes:
        self._check(writing=False)
        return self._disk.read_at(self._node, self.path, size, offset)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._check(writing=True)
        taken = bytes(data)
        self._disk.write_at(self._node, self.path, self.position, taken)
        self.position += len(taken)

    def write_behind(self) -> None:
        self._check(writing=True)  # a hint: it promises nothing, so a crash may still take everything

    def sync(self) -> None:
        self._check(writing=False)
        self._disk.sync_node(self._node, self.path)

    def allocate(self, size: int) -> None:
        self._check(writing=True)
        self._disk.resize(self._node, self.path, "allocate", size)

    def truncate(self, size: int) -> None:
        self._check(writing=True)
        self._disk.resize(self._node, self.path, "truncate", size)

    def size(self) -> int:
        self._check(writing=False)
        return len(self._node.live)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._disk.closed(self._node)


class CrashLock:
    """A lock held on a ``CrashDisk``; a crash releases it."""

    __slots__ = ("_locks", "_path")

    def __init__(self, locks: set[str], path: str) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        self._locks.discard(self._path)
