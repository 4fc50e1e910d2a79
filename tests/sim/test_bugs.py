"""The simulator is worth something if it finds what is wrong: each seeded bug has to be caught by some seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.bugs import BUGS

SEEDS_MAX = 200


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_is_caught(name: str) -> None:
    """In an interpreter of its own, of the interpreted build: what is compiled can't be patched."""
    fixed = {"SHERD_INTERPRETED": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", "sim.bugs", name, "0", str(SEEDS_MAX)]
    done = subprocess.run(command, env={**os.environ, **fixed}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
