"""Programs of the system that a test needs: found, or installed from Debian, or the test fails."""

import os
import shutil
import subprocess

import pytest

INSTALL_SECONDS = 300


def debian_program(name: str, package: str) -> str:
    """Where the program is."""
    found = shutil.which(name)
    if found is None:
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(
                ["apt-get", "-q", *command],
                check=False,
                capture_output=True,
                timeout=INSTALL_SECONDS,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
        found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is needed for this test (Debian's {package}) and could not be installed")
    return found
