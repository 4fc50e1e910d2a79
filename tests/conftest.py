"""What every test session needs: ``support`` importable, the build checked and named, hypothesis set up.

Tests run against the compiled build, or against the interpreted sources under ``SHERD_INTERPRETED=1``. In a checkout a
compiled file older than its source would silently test yesterday's code, so that is an error, as is a module that
should be compiled and is not.
"""

import importlib.machinery
import os
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

INTERPRETED = os.environ.get("SHERD_INTERPRETED", "") not in ("", "0")
SOAK = os.environ.get("SHERD_SOAK", "") not in ("", "0")

# The suite itself is reproducible; a soak looks for new examples.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True, database=None)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile("soak" if SOAK else "suite")


def compiled_names() -> list[str]:
    """Modules that the build compiles."""
    lines = (ROOT / "compiled_modules.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def build_faults() -> list[str]:
    """What is wrong with the compiled files of this checkout: missing ones and those older than their source."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    found = []
    for name in compiled_names():
        source = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
        if not source.is_file():
            found.append(f"{name}: {source.relative_to(ROOT)} does not exist")
            continue
        binary = source.with_suffix(suffix)
        if not binary.is_file():
            found.append(f"{name} is not compiled")
            continue
        built = binary.stat().st_mtime_ns
        for part in (source, source.with_suffix(".pxd")):
            if part.is_file() and part.stat().st_mtime_ns > built:
                found.append(f"{part.relative_to(ROOT)} is newer than its compiled file")
    return found


def pytest_configure(config: pytest.Config) -> None:
    in_checkout = (ROOT / "compiled_modules.txt").is_file() and (ROOT / "setup.py").is_file()
    if INTERPRETED or not in_checkout:
        return
    faults = build_faults()
    if faults:
        raise pytest.UsageError("the compiled build is stale, run `make ext`:\n  " + "\n  ".join(faults))


def pytest_report_header(config: pytest.Config) -> str:
    build = "interpreted sources" if INTERPRETED else "compiled"
    return f"sherd build: {build}{', soak' if SOAK else ''}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests run only when ``-m soak`` asks for them."""
    if config.option.markexpr == "soak":
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
