"""Test the tests: each bug put into the engine on purpose is caught by the suite that should. Runs interpreted.

The suite takes one bug of each kind of test; the soak takes all, and checks that without a bug the same tests pass.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.seeded_bugs import BUGS

FAULTS = Path(__file__).resolve().parent


def run(name: str, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Those tests in a process of their own, with the bug ``name`` (none if empty)."""
    environment = {
        **{key: value for key, value in os.environ.items() if key != "SHERD_SOAK"},
        "SHERD_INTERPRETED": "1",
        "SHERD_SEEDED_BUG": name,
        "PYTHONPATH": str(FAULTS.parent),
    }
    nodes = [str(FAULTS / test) for test in tests]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--tb=line",
        "-m",
        "not soak",
        "-p",
        "support.seeded_bugs",
        *nodes,
    ]
    return subprocess.run(
        command, env=environment, cwd=FAULTS.parent.parent, capture_output=True, text=True, check=False, timeout=280
    )


QUICK = (
    "acknowledge_before_fsync",
    "trust_an_fsync_after_a_failed_one",
    "ignore_the_checksum_of_blocks",
    "drop_tombstones_too_early",
    "believe_the_wall_clock",
    "stage_before_there_is_room",
)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.soak) for name in BUGS])
def test_a_seeded_bug_is_caught(name: str) -> None:
    for test in BUGS[name].caught_by:
        done = run(name, (test,))
        assert done.returncode == pytest.ExitCode.TESTS_FAILED, f"{test} did not catch {name}:\n{done.stdout}"
        assert "error" not in done.stdout.splitlines()[-1], done.stdout


@pytest.mark.soak
def test_without_a_bug_the_same_tests_pass() -> None:
    tests = tuple(dict.fromkeys(test for bug in BUGS.values() for test in bug.caught_by))
    done = run("", tests)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
