"""Fails if a file or a function has outgrown the size at which it reads as one concept.

Files may have 400 lines, those of tests 600; functions 60, not counting those of tests, which are tables as often as
code. What must be larger stands in ALLOWED with its reason.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60

ALLOWED: dict[str, str] = {}
"""``path`` or ``path:function`` to the reason why it may be larger."""


def tracked_sources() -> list[str]:
    """Python files of the repository, new ones too; of an unpacked release, which has no repository, all of them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        return sorted({name for name in listed.stdout.splitlines() if (ROOT / name).is_file()})
    skipped = {"build", "dist", ".venv"}
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
    return sorted(str(path) for path in found if path.parts[0] not in skipped)


def oversized(name: str, text: str) -> Iterator[tuple[str, str]]:
    """What of one file is too large: its name in ALLOWED, and what to say about it."""
    in_tests = name.startswith("tests/")
    lines = text.count("\n")
    lines_max = TEST_FILE_LINES_MAX if in_tests else FILE_LINES_MAX
    if lines > lines_max:
        yield name, f"{name}: {lines} lines, at most {lines_max}"
    if in_tests:
        return
    for node in ast.walk(ast.parse(text, name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            size = node.end_lineno - node.lineno + 1
            if size > FUNCTION_LINES_MAX:
                yield (
                    f"{name}:{node.name}",
                    f"{name}:{node.lineno} {node.name}: {size} lines, at most {FUNCTION_LINES_MAX}",
                )


def main() -> int:
    """Report what is too large, and allowances that are no longer needed."""
    names = tracked_sources()
    found = dict(fault for name in names for fault in oversized(name, (ROOT / name).read_text()))
    faults = [message for name, message in found.items() if name not in ALLOWED]
    faults += [
        f"tools/check_sizes.py: {name} is no longer too large, drop its allowance"
        for name in ALLOWED
        if name not in found
    ]
    print("\n".join(faults) or f"{len(names)} files are within their sizes")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
