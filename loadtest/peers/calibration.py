"""What the machine gives to anybody, measured before and after a run: figures of runs that differ here do not compare.

The cost of a sync above all: on virtual disks it drifts by more than ten times within minutes, and it decides what the
rows of synced work show. Where it is low they compare software, where it is high they compare the disk with itself.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

SYNCS = 300
RECORD_BYTES = 176
PREALLOCATED_BYTES = 1 << 20
LOOPS = 1_000_000
DRIFT_MAX = 0.2
IN_MEMORY = ("tmpfs", "ramfs")


def calibrate(directory: Path) -> dict[str, float]:
    """Microseconds of an fdatasync of an appended record and of one into allocated space; of 100 turns of a loop."""
    started = time.perf_counter()
    total = 0
    for number in range(LOOPS):
        total += number & 7
    loop_us = (time.perf_counter() - started) / LOOPS * 1e8
    return {
        "appended fdatasync us": round(sync_us(directory, preallocated=False), 1),
        "preallocated fdatasync us": round(sync_us(directory, preallocated=True), 1),
        "100 turns of a Python loop us": round(loop_us, 2),
    }


def sync_us(directory: Path, *, preallocated: bool) -> float:
    """The mean over SYNCS records, each written and synced, in a file that is removed again."""
    path = directory / "calibration"
    record = bytes(RECORD_BYTES)
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    try:
        if preallocated:
            os.write(fd, bytes(PREALLOCATED_BYTES))
            os.fsync(fd)
            os.lseek(fd, 0, os.SEEK_SET)
        started = time.perf_counter()
        for _ in range(SYNCS):
            os.write(fd, record)
            os.fdatasync(fd)
        return (time.perf_counter() - started) / SYNCS * 1e6
    finally:
        os.close(fd)
        path.unlink()


def file_system(directory: Path, mounts: str | None = None) -> str:
    """The kind that ``directory`` is on, by the longest mount point that holds it."""
    text = Path("/proc/mounts").read_text() if mounts is None else mounts
    where = directory.resolve()
    found = ("", "unknown")
    for line in text.splitlines():
        _, point, kind, *_ = line.split()
        if where.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def remarks_on(kind: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """What a reader has to know about disk and drift."""
    told = ", ".join(f"{name} {value:g} before, {after[name]:g} after" for name, value in before.items())
    remarks = [f"Calibration on {kind}: {told}. Synced rows hold for this cost of a sync only."]
    drifted = [name for name, value in before.items() if abs(after[name] - value) > DRIFT_MAX * value]
    if drifted:
        remarks.append(f"DRIFT of more than {DRIFT_MAX:.0%} during the run: {', '.join(drifted)}.")
    if kind in IN_MEMORY:
        remarks.append(f"NOT DURABLE: {kind} keeps nothing, so rows of synced work mean nothing here. Use --work.")
    return remarks
