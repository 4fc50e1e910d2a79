"""`make bench-steady` in small: it runs, its load is answered without errors, and it says what it found."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "loadtest" / "steady.py"


def test_a_short_run() -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", "3", "--warm-up", "1", "--shards", "2", "--report-only"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    offered = re.search(r"offering ([\d,]+)/s", ran.stdout)
    answered = re.search(r"answered ([\d,]+)/s", ran.stdout)
    assert offered is not None
    assert answered is not None
    assert int(answered[1].replace(",", "")) > 0
    assert "errors 0 " in ran.stdout
