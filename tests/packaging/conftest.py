"""The wheel, and environments that have it."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.installation import Installation, install

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("common", "shard", "proxy", "client", "cluster", "cli", "public")
BUILD_FILES = ("setup.py", "pyproject.toml", "compiled_modules.txt", "README.md", "LICENSE")


def sources() -> Iterator[Path]:
    """Every file that the wheel is made from."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.suffix in (".py", ".pxd", ".md", ".typed"):
                yield path
    for name in BUILD_FILES:
        yield ROOT / name


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel in build/wheel; built if there is none, or a source is newer."""
    newest = max(path.stat().st_mtime_ns for path in sources())
    found = list((ROOT / "build" / "wheel").glob("sherd-*.whl"))
    if len(found) == 1 and found[0].stat().st_mtime_ns >= newest:
        return found[0]
    built = subprocess.run(
        [sys.executable, "tools/build_wheel.py"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(built.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with what it depends on, and no Cython."""
    return install(tmp_path_factory.mktemp("installed"), str(wheel))


@pytest.fixture(scope="session")
def interpreted(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with its extra ``interpreted``."""
    return install(tmp_path_factory.mktemp("interpreted"), f"{wheel}[interpreted]")


@pytest.fixture
def wheel_files(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as archive:
        yield archive
