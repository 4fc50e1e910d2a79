"""Builds the wheel into build/wheel from what is compiled already, and prints its path.

setuptools keeps in build/lib whatever was ever copied there, so what no longer has a source is removed first: a wheel
holds what the tree holds. The build runs in this interpreter's environment; the result is the same as pip's.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEEL_DIR = ROOT / "build" / "wheel"


def prune_copies() -> None:
    """Remove from build/lib.* the sources, which are copied anew, and compiled modules that are no longer listed."""
    listed = {line.replace(".", "/") for line in (ROOT / "compiled_modules.txt").read_text().splitlines()}
    for copies in (ROOT / "build").glob("lib.*"):
        for path in copies.rglob("*"):
            if not path.is_file():
                continue
            module = str(path.relative_to(copies)).split(".", 1)[0]
            if path.suffix != ".so" or module not in listed:
                path.unlink()


def build() -> Path:
    """Build the wheel; CalledProcessError if that fails."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prune_copies()
        shutil.rmtree(WHEEL_DIR, ignore_errors=True)
        subprocess.run(
            [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(WHEEL_DIR)],
            cwd=ROOT, check=True, stdout=sys.stderr, env={**os.environ, "SHERD_BUILD_ONLY": ""},
        )  # fmt: skip
    (wheel,) = WHEEL_DIR.glob("sherd-*.whl")
    return wheel


if __name__ == "__main__":
    print(build())
