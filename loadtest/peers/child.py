"""Measurements in a fresh Python process: a module, an order as JSON, rates as JSON on its stdout."""

import json
import os
import subprocess
import sys
from pathlib import Path

CHILD_SECONDS_MAX = 3600
ERROR_CHARACTERS_SHOWN = 2000


class ChildFailed(Exception):
    """A measurement in a child process ended without a result."""


def run_child(module: str, order: dict[str, object]) -> dict[str, float]:
    """What ``python -m module ORDER`` printed. Raises ChildFailed with its last words."""
    paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(order)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS_MAX,
        check=False,
    )
    if done.returncode or not done.stdout:
        raise ChildFailed(f"{module} {order}: exit {done.returncode}\n{done.stderr[-ERROR_CHARACTERS_SHOWN:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
