"""Runs the sections of ``make test`` one after the other, each under a heading with the time so far.

A section that only computes runs beside the one behind it, which mostly waits; what it has said is shown when both are
through. Stops at the first section that fails. The last line of a whole run is pytest's own summary; the times of all
sections are left in build/check-times.txt.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
TIMES = ROOT / "build" / "check-times.txt"


@dataclass(frozen=True, slots=True)
class Section:
    """One command, run from the root; ``groups`` are the arguments that select it. One that is ``beside`` runs at a low
    priority while the next one does.
    """

    title: str
    command: tuple[str, ...]
    groups: tuple[str, ...] = ("all",)
    env: dict[str, str] = field(default_factory=dict)
    beside: bool = False


def tool(name: str, *args: str) -> tuple[str, ...]:
    return (str(BIN / name), *args)


def script(name: str, *args: str) -> tuple[str, ...]:
    return (sys.executable, f"tools/{name}.py", *args)


def pytest(*args: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", "-q", *args)


LINT = ("all", "lint")
SECTIONS = (
    Section("ruff: rules", tool("ruff", "check", "."), LINT),
    Section("ruff: format", tool("ruff", "format", "--check", "."), LINT),
    Section("mypy --strict", tool("mypy", "-p", "sherd"), ("all", "typecheck")),
    Section("import contracts", tool("lint-imports"), LINT, {"PYTHONPATH": "build/pkgroot"}),
    Section("sizes of files and functions", script("check_sizes"), LINT),
    Section("wheel, from what is compiled", script("build_wheel")),
    Section("core tests, compiled", pytest("-m", "core")),
    Section("core tests, interpreted", pytest("-m", "core"), env={"SHERD_INTERPRETED": "1"}, beside=True),
    Section("all other tests, compiled", pytest("-m", "not core")),
    Section("decoder tests under AddressSanitizer and UndefinedBehaviorSanitizer", script("sanitize")),
)


def run(sections: list[Section]) -> int:
    """Run ``sections``; the exit status of the first that fails, or 0."""
    began = time.monotonic()
    times: list[str] = []
    aside: Aside | None = None
    for section in sections:
        started = time.monotonic()
        where = " (begun beside the next)" if section.beside else ""
        print(f"\n== {section.title} (at {started - began:.0f} s){where}", flush=True)
        if section.beside:
            aside = Aside(section)
            continue
        status = subprocess.run(section.command, cwd=ROOT, env={**os.environ, **section.env}, check=False).returncode
        times.append(f"{time.monotonic() - started:7.1f} s  {section.title}")
        if aside is not None:
            if status == 0:
                section, status = aside.section, aside.end()
                times.append(f"{time.monotonic() - started:7.1f} s  {section.title}, beside it")
            else:
                aside.give_up()
            aside = None
        if status:
            print(f"\nfailed: {section.title}: {' '.join(section.command)}", file=sys.stderr)
            return status
    TIMES.parent.mkdir(exist_ok=True)
    TIMES.write_text("\n".join([*times, f"{time.monotonic() - began:7.1f} s  in all", ""]))
    return 0


class Aside:
    """A section that runs while another does."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self._process = subprocess.Popen(
            ("nice", "-n", "5", *section.command),
            cwd=ROOT,
            env={**os.environ, **section.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self) -> int:
        """Its exit status, once it is through, and what it has said."""
        said, _ = self._process.communicate()
        print(f"\n== {self.section.title}: what it said\n{said}", flush=True)
        return self._process.returncode

    def give_up(self) -> None:
        """The other one has failed."""
        self._process.kill()
        self._process.wait()


def main() -> int:
    group = sys.argv[1] if len(sys.argv) == 2 else ""
    chosen = [section for section in SECTIONS if group in section.groups]
    if not chosen:
        print("usage: checks.py all|lint|typecheck", file=sys.stderr)
        return 2
    return run(chosen)


if __name__ == "__main__":
    sys.exit(main())
