"""The measuring scripts in small: they run, their loads are answered without errors, and they say what they found."""

import json
import re
import subprocess
import sys
from pathlib import Path

LOADTEST = Path(__file__).resolve().parents[2] / "loadtest"


def test_a_steady_load() -> None:
    options = ["--seconds", "3", "--warm-up", "1", "--shards", "2", "--report-only"]
    command = [sys.executable, str(LOADTEST / "steady.py"), *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    offered = re.search(r"offering ([\d,]+)/s", ran.stdout)
    answered = re.search(r"answered ([\d,]+)/s", ran.stdout)
    assert offered is not None
    assert answered is not None
    assert int(answered[1].replace(",", "")) > 0
    assert "errors 0 " in ran.stdout


def test_the_growth_of_a_shard() -> None:
    options = ["--millions", "2", "--step", "3000", "--report-only"]
    command = [sys.executable, str(LOADTEST / "growth.py"), *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    *steps, last = ran.stdout.splitlines()
    assert len(steps) == 2
    assert last.endswith("errors 0")


def test_the_scale_of_an_engine(tmp_path: Path) -> None:
    out = tmp_path / "sizes.json"
    command = [sys.executable, str(LOADTEST / "scale.py"), "--keys", "1000,3000", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    sizes = json.loads(out.read_text())
    assert [size["keys"] for size in sizes] == [1000, 3000]
    assert all(size["get_us"] > 0 and size["write_amplification"] > 1 for size in sizes)


def test_the_cost_model() -> None:
    command = [sys.executable, str(LOADTEST / "cost_model.py"), "--seconds", "0.5", "--keys", "20000"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split("|")[1:-1] for line in ran.stdout.splitlines()[2:]]
    assert [(row[0].strip(), int(row[1])) for row in rows] == [(w, p) for w in ("get", "set") for p in (1, 16, 64)]
    assert all(float(row[2]) > 0 and float(row[3]) > 0 for row in rows)
