"""From a path to a started engine's parts: directory, LOCK, MANIFEST, recovery, the new term.

The order matters at every step and stands in CRASHES.md. Nothing is unlinked that the MANIFEST on disk may name: what
recovery found obsolete goes only after a MANIFEST of this life is durable.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sherd.common.disk import Disk, Lock
from sherd.common.errors import StoreError, StoreFormat, StoreFull, StoreLocked, StoreReadOnly
from sherd.shard.lsm.format import COPY_NAME, LOCK_NAME, QUARANTINE_NAME, TEMPORARY_SUFFIX, TERM_LSN_STEP
from sherd.shard.lsm.installer import NO_ROOM, Installer
from sherd.shard.lsm.manifest import STORE_ID_BYTES, Manifest, read_manifest, write_manifest
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.recovery import Recovered, Recovery, remove_temporaries
from sherd.shard.lsm.shard_time import ShardTime
from sherd.shard.lsm.wal import FSYNC_FAILED_NAME, Wal


@dataclass(slots=True)
class Opened:
    """The parts of an engine that is ready to serve. ``wal`` is None when it was opened to be read only; ``clean`` says
    that the log ends where a clean close has left it.
    """

    lock: Lock | None
    installer: Installer
    recovered: Recovered
    wal: Wal | None
    term: int
    last_lsn: int
    following: bool = False
    clean: bool = False


@contextlib.contextmanager
def as_store_errors(directory: str) -> Iterator[None]:
    """What the operating system refuses, as what it means for the directory."""
    try:
        yield
    except BlockingIOError as error:
        raise StoreLocked(f"{directory} is in use by another process, which must stop first") from error
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise StoreReadOnly(f"{directory} cannot be written: {error}") from error
        if error.errno in NO_ROOM:
            raise StoreFull(f"no room on the disk to open {directory}: {error}") from error
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise StoreFormat(f"there is no store at {directory}: {error}") from error
        raise StoreError(f"{directory} cannot be opened: {error}") from error


def open_directory(
    directory: str,
    options: EngineOptions,
    disk: Disk,
    time: ShardTime,
    random: Callable[[int], bytes],
    *,
    term: int | None,
    follow: bool,
    read_only: bool,
    create: bool,
) -> Opened:
    """Lock, recover and start ``directory``. Raises the StoreError that says what is wrong, and leaves it unlocked."""
    with as_store_errors(directory):
        if create and not read_only:
            _make_directory(disk, directory)
        _check_ours(disk, directory)
        lock = lock_directory(disk, directory, read_only)
    try:
        with as_store_errors(directory):
            if read_only:
                return _open_to_read(directory, options, disk, time, lock)
            return _start(directory, options, disk, time, random, term, follow, lock, create)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def _make_directory(disk: Disk, directory: str) -> None:
    if not disk.exists(directory):
        disk.mkdir(directory)
    disk.sync_dir(os.path.dirname(os.path.abspath(directory)) if os.path.dirname(directory) else ".")


def _check_ours(disk: Disk, directory: str) -> None:
    """A directory that holds other things is not made into a store by mistake."""
    names = disk.listdir(directory)
    if "MANIFEST" in names:
        return
    ours = (LOCK_NAME, QUARANTINE_NAME, FSYNC_FAILED_NAME, COPY_NAME)
    foreign = [
        name for name in sorted(names) if name not in ours and not name.endswith((TEMPORARY_SUFFIX, ".wal", ".sst"))
    ]
    if foreign:
        raise StoreFormat(f"{directory} is not a store of Sherd, and not empty: it holds {foreign[0]}")


@contextlib.contextmanager
def locked(disk: Disk, directory: str) -> Iterator[None]:
    """Hold the LOCK of a store that is to be changed while it is closed. StoreLocked if it is not."""
    with as_store_errors(directory):
        lock = disk.lock(f"{directory}/{LOCK_NAME}")
    try:
        yield
    finally:
        lock.release()


def lock_directory(disk: Disk, directory: str, read_only: bool) -> Lock | None:
    """The directory's LOCK; a reader without permission to take it goes on without."""
    try:
        return disk.lock(f"{directory}/{LOCK_NAME}")
    except BlockingIOError:
        raise
    except OSError:
        if not read_only:
            raise
        return None


def _open_to_read(directory: str, options: EngineOptions, disk: Disk, time: ShardTime, lock: Lock | None) -> Opened:
    manifest = read_manifest(disk, directory)
    if manifest is None:
        raise StoreFormat(f"there is no store at {directory}")
    recovered = Recovery(disk, directory, manifest, options.memtable_bytes, read_only=True).run()
    time.logged(recovered.logged_ms)
    installer = Installer(disk, directory, options, manifest, recovered.highest_number)
    return Opened(lock, installer, recovered, None, recovered.term, recovered.last_lsn)


def _start(
    directory: str,
    options: EngineOptions,
    disk: Disk,
    time: ShardTime,
    random: Callable[[int], bytes],
    term: int | None,
    follow: bool,
    lock: Lock | None,
    create: bool,
) -> Opened:
    manifest = read_manifest(disk, directory)
    if manifest is None and not create:
        raise StoreFormat(f"there is no store at {directory}")
    remove_temporaries(disk, directory)
    if manifest is None:
        manifest = Manifest(store_id=random(STORE_ID_BYTES), partial=follow)
        write_manifest(disk, directory, manifest)
    recovered = Recovery(disk, directory, manifest, options.memtable_bytes).run()
    time.logged(recovered.logged_ms)
    clean = recovered.last_lsn > 0 and manifest.clean_lsn == recovered.last_lsn
    term = recovered.term if follow else _next_term(term, recovered, directory)
    installer = Installer(disk, directory, options, manifest, recovered.highest_number, recovered.terms)
    wal = Wal(directory, disk, options.memtable_bytes, random, installer.next_number)
    try:
        lsn = recovered.last_lsn
        wal.start(lsn)
        if not follow:
            lsn += TERM_LSN_STEP
            time_ms = time.now_ms()
            wal.begin_term(term, lsn, time_ms)
            time.logged(time_ms)
            installer.terms.append((term, lsn))
        live = [number for group in recovered.groups for number in group.segments]
        first = live[0] if live else wal.number
        kept = recovered.kept[0].number if recovered.kept else first
        installer.write(terms=installer.terms_until(lsn), first_segment=first, kept_segment=kept, clean_lsn=None)
        installer.discard(recovered.obsolete)
    except BaseException:
        wal.close()
        installer.close()
        raise
    return Opened(lock, installer, recovered, wal, term, lsn, follow, clean)


def _next_term(term: int | None, recovered: Recovered, directory: str) -> int:
    latest = recovered.term
    if term is None:
        return latest + 1
    if term <= latest:
        raise StoreError(f"{directory} has seen term {latest}; it cannot start as leader of term {term}")
    return term
