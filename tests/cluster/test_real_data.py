"""A slice of a real data set through import, 4 hash and 4 range shards, and back; the scripts are the README's."""

import subprocess
import sys
from pathlib import Path

import pytest

LOADTEST = Path(__file__).parents[2] / "loadtest"
RECORDS = 3_000
SHARE_RECORDS_MIN = 500


@pytest.mark.timeout(200)
def test_every_record_and_range_equals_the_source(tmp_path: Path) -> None:
    records = tmp_path / "packages.jsonl"
    with records.open("wb") as lines:
        script = [sys.executable, str(LOADTEST / "debian_packages.py"), "--limit", str(RECORDS)]
        subprocess.run(script, stdout=lines, check=True, timeout=60)
    assert len(records.read_bytes().splitlines()) >= SHARE_RECORDS_MIN
    done = subprocess.run(
        [sys.executable, str(LOADTEST / "real_data.py"), str(records)], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("every record and range equals the source, also after a restart") == 2
