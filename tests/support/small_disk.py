"""A small real file system for tests of a full disk: a tmpfs, mounted for the time of a ``with`` block."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(point: Path, size: str) -> Iterator[Path]:
    """``point`` as a tmpfs of ``size`` (as ``mount`` takes it). The test fails where none can be mounted."""
    point.mkdir(exist_ok=True)
    before = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = [*before, "mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(point)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False, timeout=30)
    if mounted.returncode != 0:
        pytest.fail(f"a tmpfs is needed for this test and could not be mounted: {mounted.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run([*before, "umount", "-l", str(point)], check=True, timeout=30)
