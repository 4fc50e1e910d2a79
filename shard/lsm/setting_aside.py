"""Setting a whole store aside: all its files go to quarantine, as if nothing had ever been stored in its directory.

For a store that is damaged, or found to hold something wrong, and that can be had anew from another replica. The
MANIFEST goes first: a directory that holds data files and no MANIFEST refuses to start. So a crash anywhere leaves one
that refuses, and can be set aside again, or one that is empty.
"""

import logging

from sherd.common.disk import Disk
from sherd.common.logs import event
from sherd.shard.lsm.format import MANIFEST_NAME, SEGMENT_SUFFIX, TABLE_SUFFIX, file_number
from sherd.shard.lsm.opening import locked
from sherd.shard.lsm.quarantine import save_file
from sherd.shard.lsm.wal import FSYNC_FAILED_NAME

log = logging.getLogger("lsm")


def set_aside(disk: Disk, directory: str) -> int:
    """Move the files of a closed store to its quarantine; how many there were. StoreLocked if it is open."""
    with locked(disk, directory):
        names = disk.listdir(directory)
        found: list[str] = [name for name in (MANIFEST_NAME, FSYNC_FAILED_NAME) if name in names]
        found += [name for name in sorted(names) if _is_data(name)]
        for name in found:
            save_file(disk, directory, name)
    event(log, logging.WARNING, "store set aside", directory=directory, files=len(found))
    return len(found)


def _is_data(name: str) -> bool:
    return file_number(name, TABLE_SUFFIX) is not None or file_number(name, SEGMENT_SUFFIX) is not None
