"""quarantine/: what recovery cut from the log and what failed verification. Sherd never deletes anything there.

Invariants: a name in quarantine is never taken twice; what is saved is durable, name included, before the call returns,
so that the original may be cut afterwards; a saved part of a segment is itself a readable segment (the original's
header, then the bytes from the cut on), so ``sherd dump`` prints it.
"""

import contextlib
from typing import Final

from sherd.common.disk import Disk, File
from sherd.shard.lsm.format import QUARANTINE_NAME, SEGMENT_HEADER_BYTES, TEMPORARY_SUFFIX

COPY_BYTES: Final = 1 << 20


def quarantine_path(directory: str) -> str:
    """The path of a store's quarantine."""
    return f"{directory}/{QUARANTINE_NAME}"


def quarantined(disk: Disk, directory: str) -> tuple[str, ...]:
    """Names of what lies in quarantine, sorted; half-written copies left by a crash are not counted."""
    path = quarantine_path(directory)
    if not disk.exists(path):
        return ()
    return tuple(sorted(name for name in disk.listdir(path) if not name.endswith(TEMPORARY_SUFFIX)))


def save_tail(disk: Disk, directory: str, segment: str, offset: int, end: int) -> str:
    """Copy bytes ``offset`` to ``end`` of the segment named ``segment``, behind its header. Returns the copy's path.

    The segment is only read; cutting it is the caller's next step. Done again after a crash, it makes another copy.
    """
    target, temporary = _new_name(disk, directory, f"{segment}.from-{offset}")
    with contextlib.closing(disk.open_read(f"{directory}/{segment}")) as source:
        copy = disk.create(temporary)
        with contextlib.closing(copy):
            _copy(source, copy, 0, SEGMENT_HEADER_BYTES)
            _copy(source, copy, offset, end)
            copy.sync()
    disk.rename(temporary, target)
    disk.sync_dir(quarantine_path(directory))
    return target


def save_copy(disk: Disk, directory: str, name: str) -> str:
    """Copy the file ``name`` of the store's directory into quarantine. Returns the copy's path."""
    target, temporary = _new_name(disk, directory, name)
    with contextlib.closing(disk.open_read(f"{directory}/{name}")) as source:
        copy = disk.create(temporary)
        with contextlib.closing(copy):
            _copy(source, copy, 0, source.size())
            copy.sync()
    disk.rename(temporary, target)
    disk.sync_dir(quarantine_path(directory))
    return target


def save_file(disk: Disk, directory: str, name: str) -> str:
    """Move the file ``name`` of the store's directory into quarantine as it is. Returns its new path."""
    target, _ = _new_name(disk, directory, name)
    disk.rename(f"{directory}/{name}", target)
    disk.sync_dir(quarantine_path(directory))
    disk.sync_dir(directory)
    return target


def _new_name(disk: Disk, directory: str, name: str) -> tuple[str, str]:
    """A path in quarantine that is free, and a temporary one to write it under; makes the quarantine if need be."""
    path = quarantine_path(directory)
    disk.mkdir(path)
    disk.sync_dir(directory)  # also if it was there: a killed predecessor may not have come this far
    target = f"{path}/{name}"
    count = 1
    while disk.exists(target):
        count += 1
        target = f"{path}/{name}.{count}"
    temporary = target + TEMPORARY_SUFFIX
    if disk.exists(temporary):
        disk.unlink(temporary)
    return target, temporary


def _copy(source: File, target: File, offset: int, end: int) -> None:
    """Append bytes ``offset`` to ``end`` of one file, or as many as it has, to the other."""
    while offset < end:
        data = source.pread(min(COPY_BYTES, end - offset), offset)
        if not data:
            return
        target.write(data)
        offset += len(data)
