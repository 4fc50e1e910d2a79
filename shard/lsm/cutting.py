"""Cutting the end off a log: what stands behind an LSN was never the leader's, and goes to quarantine.

In this order, so that a crash anywhere leaves a directory that starts and can be cut again: a MANIFEST that claims
nothing behind the LSN; later segments saved, the last one first; the tail of the segment saved; the segment cut.
"""

import logging
from dataclasses import replace

from sherd.common.disk import Disk
from sherd.common.errors import StoreFormat
from sherd.common.logs import event
from sherd.shard.lsm.format import SEGMENT_SUFFIX, file_number, segment_name
from sherd.shard.lsm.manifest import read_manifest, write_manifest
from sherd.shard.lsm.opening import locked
from sherd.shard.lsm.quarantine import save_file, save_tail
from sherd.shard.lsm.segment import cut_segment
from sherd.shard.lsm.segment_reader import SegmentReader

log = logging.getLogger("lsm")


class PastFork(Exception):
    """What is in tables goes beyond the place where the log was to be cut."""


def cut_log(disk: Disk, directory: str, lsn: int) -> None:
    """Cut the log of a closed store behind ``lsn``. PastFork, with nothing changed, if it is too late for that."""
    with locked(disk, directory):
        manifest = read_manifest(disk, directory)
        if manifest is None:
            raise StoreFormat(f"there is no store at {directory}")
        if manifest.flushed_lsn > lsn:
            raise PastFork(f"{directory} has tables up to LSN {manifest.flushed_lsn}, beyond {lsn}")
        terms = tuple(term for term in manifest.terms if term[1] <= lsn)
        write_manifest(disk, directory, replace(manifest, terms=terms, clean_lsn=None))
        found = (file_number(name, SEGMENT_SUFFIX) for name in disk.listdir(directory))
        numbers = sorted(number for number in found if number is not None and number >= manifest.first_segment)
        for number in reversed(numbers):
            if _cut_segment(disk, directory, number, lsn, keep=number == manifest.first_segment):
                break


def _cut_segment(disk: Disk, directory: str, number: int, lsn: int, keep: bool) -> bool:
    """Cut one segment; whether the log goes on up to ``lsn`` in it, so that those before it stay whole.

    ``keep``: the MANIFEST names it, so it stays, be it empty.
    """
    name = segment_name(number)
    with SegmentReader.open(disk, f"{directory}/{name}", number) as reader:
        first_lsn = cut_at = 0
        for offset, header, _ in reader.records():
            first_lsn = first_lsn or header.first_lsn
            if header.last_lsn > lsn:
                cut_at = offset
                break
        end = reader.used_bytes(cut_at)
    if cut_at and first_lsn > lsn and not keep:
        saved = save_file(disk, directory, name)
        event(log, logging.WARNING, "log segment moved to quarantine", path=saved, behind_lsn=lsn)
    elif cut_at:
        saved = save_tail(disk, directory, name, cut_at, end)
        cut_segment(disk, f"{directory}/{name}", cut_at)
        event(log, logging.WARNING, "log cut, its end is in quarantine", path=saved, behind_lsn=lsn)
    return 0 < first_lsn <= lsn
