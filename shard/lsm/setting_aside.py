"""Setting a whole store aside: all its files go to quarantine, and nothing was ever stored in the directory.

For a store that is damaged, or found to hold something wrong, and that can be had anew from another replica. In this
order, so that a crash anywhere leaves a directory that refuses to start, or holds a part of the log that was good, and
can be set aside again: tables, which the MANIFEST then names in vain; segments, the last one first; the MANIFEST.
"""

import logging

from sherd.common.disk import Disk
from sherd.common.logs import event
from sherd.shard.lsm.format import MANIFEST_NAME, SEGMENT_SUFFIX, TABLE_SUFFIX, file_number, segment_name, table_name
from sherd.shard.lsm.opening import locked
from sherd.shard.lsm.quarantine import save_file
from sherd.shard.lsm.wal import FSYNC_FAILED_NAME

log = logging.getLogger("lsm")


def set_aside(disk: Disk, directory: str) -> int:
    """Move the files of a closed store to its quarantine; how many there were. StoreLocked if it is open."""
    with locked(disk, directory):
        names = disk.listdir(directory)
        found = [table_name(number) for number in _numbers(names, TABLE_SUFFIX)]
        found += [segment_name(number) for number in reversed(_numbers(names, SEGMENT_SUFFIX))]
        found += [name for name in (MANIFEST_NAME, FSYNC_FAILED_NAME) if name in names]
        for name in found:
            save_file(disk, directory, name)
    event(log, logging.WARNING, "store set aside", directory=directory, files=len(found))
    return len(found)


def _numbers(names: list[str], suffix: str) -> list[int]:
    return sorted(number for name in names if (number := file_number(name, suffix)) is not None)
