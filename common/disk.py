"""All access to files goes through a ``Disk``, so that tests can run the same code on one that forgets and fails.

The promises the engine builds on, and nothing more: ``write`` either takes all bytes or raises, after which how many
were taken is unknown; bytes are durable after ``sync``; a name (created, renamed or unlinked) is durable after
``sync_dir`` of its directory; ``rename`` replaces atomically; ``pread`` returns fewer bytes only at the end of file.
Errors are ``OSError`` with an errno. Paths are ``str``, with ``/`` between parts.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
from typing import Final, Protocol

_SYNC_FILE_RANGE_WRITE: Final = 2  # of linux/fs.h: start writing dirty pages that are not being written yet
_sync_file_range: Final = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux has it
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class File(Protocol):
    """An open file. Writes append at the file's own position, which starts at 0 for a created file."""

    @property
    def path(self) -> str: ...

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer only at the end of file."""
        ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data`` at the position."""
        ...

    def write_behind(self) -> None:
        """Have what was written go to the disk from now on, without a wait. A hint: only ``sync`` makes it durable."""
        ...

    def sync(self) -> None:
        """Make the file's bytes and size durable (fdatasync). Safe to call from another thread."""
        ...

    def allocate(self, size: int) -> None:
        """Reserve room up to ``size`` bytes, read as zeros; ENOSPC if there is none. The position stays."""
        ...

    def truncate(self, size: int) -> None: ...

    def size(self) -> int: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A file system, as little of it as the engine needs."""

    def create(self, path: str) -> File:
        """A new file for reading and writing; FileExistsError if the name is taken."""
        ...

    def open_read(self, path: str) -> File: ...

    def open_append(self, path: str, position: int | None = None) -> File:
        """An existing file for reading and writing, positioned at its end or at byte ``position`` (preallocated)."""
        ...

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def listdir(self, path: str) -> list[str]: ...

    def exists(self, path: str) -> bool: ...

    def mkdir(self, path: str) -> None:
        """Create a directory; no error if it is there."""
        ...

    def sync_dir(self, path: str) -> None: ...

    def lock(self, path: str) -> "Lock":
        """Take an exclusive lock, creating the file; BlockingIOError if another holder has it."""
        ...

    def free_bytes(self, path: str) -> int:
        """Room left for an ordinary user on the file system that holds ``path``."""
        ...


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None: ...


class RealFile:
    """A file of the operating system."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]
        got = len(data)
        while got < size:
            data = os.pread(self._fd, size - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        written = os.write(self._fd, data)
        if written == len(data):
            return
        rest = memoryview(data).cast("B")[written:]
        while rest:
            written = os.write(self._fd, rest)
            if written == 0:
                raise OSError(errno.EIO, "write took no bytes", self.path)
            rest = rest[written:]

    def write_behind(self) -> None:
        if _sync_file_range is not None:
            _sync_file_range(self._fd, 0, 0, _SYNC_FILE_RANGE_WRITE)  # what fails here, the next sync tells

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class RealLock:
    """An flock held by an open descriptor that no child inherits."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class RealDisk:
    """The operating system's files. Descriptors are close-on-exec."""

    __slots__ = ()

    def create(self, path: str) -> RealFile:
        return RealFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))

    def open_read(self, path: str) -> RealFile:
        return RealFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def open_append(self, path: str, position: int | None = None) -> RealFile:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if position is None:
            os.lseek(fd, 0, os.SEEK_END)
        else:
            os.lseek(fd, position, os.SEEK_SET)
        return RealFile(path, fd)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def mkdir(self, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o750)

    def sync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: str) -> RealLock:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            raise
        return RealLock(fd)

    def free_bytes(self, path: str) -> int:
        stats = os.statvfs(path)
        return stats.f_bavail * stats.f_frsize
