"""Runs the decoder tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer.

The decoders' modules are compiled into build/sanitized, beside and not instead of the ordinary build, and the tests
run on that tree. A report ends the test process at once, so it fails this run. To show that reports do come, a module
with a read beyond its bytes is compiled with the same flags and run first: without a report from it nothing counts.
"""

import fcntl
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SANITIZED = ROOT / "build" / "sanitized"
TREE = SANITIZED / "lib"
SANITIZERS = "address,undefined"

MODULES = ("sherd.common.wire.", "sherd.shard.lsm.")
"""The names of the modules to compile begin with these: the decoders, and what shares C types with them."""

TESTS = (
    "tests/wire/test_*.py",
    "tests/lsm/test_*record*.py",
    "tests/lsm/test_segment*.py",
    "tests/lsm/test_*block*.py",
    "tests/lsm/test_bloom*.py",
    "tests/lsm/test_table*.py",
    "tests/lsm/test_manifest*.py",
    "tests/soak/test_fuzz*.py",
)
"""The tests of what takes bytes from a peer or a file. A pattern that matches nothing is a fault of this list."""

OPTIONS = ("-q", "-m", "core", "-p", "no:cacheprovider", "-p", "no:faulthandler")

CANARY = """\
import cython


@cython.boundscheck(False)
@cython.wraparound(False)
def read_beyond(data: bytes) -> int:
    total: cython.uint = 0
    i: cython.Py_ssize_t
    for i in range(len(data) + 64):
        total += data[i]
    return total


def overflow(number: cython.int) -> int:
    return number + 2147483647
"""
"""A module that has both kinds of fault."""


def sanitizer_environment() -> dict[str, str]:
    """The environment in which a sanitized module can be imported, and a report is fatal."""
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99:allocator_may_return_null=1:quarantine_size_mb=64",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
        "PYTHONMALLOC": "malloc",  # so that every object has its own red zones
        "PYTHONPATH": str(TREE),
        "SHERD_INTERPRETED": "",
    }


def build() -> None:
    """Compile the decoders' modules that have changed, and lay the whole package out around them."""
    (ROOT / "build").mkdir(exist_ok=True)
    env = {**os.environ, "SHERD_SANITIZE": SANITIZERS, "SHERD_BUILD_ONLY": ",".join(MODULES)}
    command = [sys.executable, "setup.py", "-q", "build"]
    command += ["--build-lib", str(TREE), "--build-temp", str(SANITIZED / "temp"), "--parallel", "2"]
    with (ROOT / "build" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    if built.returncode:
        raise SystemExit(f"sanitize: the build failed\n{built.stdout}{built.stderr}")


def compiled_modules() -> list[str]:
    """The modules that must come sanitized."""
    lines = (ROOT / "compiled_modules.txt").read_text().splitlines()
    return [line for line in lines if line.startswith(MODULES)]


def check_build(env: dict[str, str]) -> None:
    """Fail unless each of the modules is loaded from the sanitized tree, as an instrumented extension."""
    code = "import importlib, sys; [print(importlib.import_module(name).__file__) for name in sys.argv[1:]]"
    command = [sys.executable, "-c", code, *compiled_modules()]
    files = subprocess.run(command, cwd="/", env=env, check=True, capture_output=True, text=True).stdout.splitlines()
    for file in files:
        path = Path(file)
        if path.suffix != ".so" or TREE not in path.parents or b"__asan_report_load" not in path.read_bytes():
            raise SystemExit(f"sanitize: {file} is not a sanitized extension module")
    print(f"{len(files)} modules are sanitized")


def check_canary(env: dict[str, str]) -> None:
    """Compile the module with faults and fail unless each of them is reported."""
    folder = SANITIZED / "canary"
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "sanitizer_canary.py"
    if not source.is_file() or source.read_text() != CANARY:
        source.write_text(CANARY)
    binary = source.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
    if not binary.is_file() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([sys.executable, "-m", "cython", "-3", str(source)], check=True)
        include = sysconfig.get_path("include")
        flags = [
            "-shared",
            "-fPIC",
            "-O1",
            f"-I{include}",
            f"-fsanitize={SANITIZERS}",
            "-fno-sanitize-recover=undefined",
        ]
        subprocess.run(["gcc", *flags, str(source.with_suffix(".c")), "-o", str(binary)], check=True)
    for call, report in (
        ("read_beyond(bytes(1000))", "heap-buffer-overflow"),
        ("overflow(1)", "signed integer overflow"),
    ):
        command = [sys.executable, "-c", f"import sanitizer_canary; sanitizer_canary.{call}"]
        path = {**env, "PYTHONPATH": str(folder)}
        ran = subprocess.run(command, cwd="/", env=path, capture_output=True, text=True, check=False)
        if ran.returncode == 0 or report not in ran.stderr:
            raise SystemExit(f"sanitize: {call} was not reported as {report}; a run would prove nothing\n{ran.stderr}")
    print("a read beyond its bytes and an overflow are reported, so faults would be")


def tests() -> list[str]:
    """The test files, none missing."""
    found = []
    for pattern in TESTS:
        files = sorted(str(path) for path in ROOT.glob(pattern))
        if not files:
            raise SystemExit(f"sanitize: no test file matches {pattern}")
        found += files
    return found


def main() -> int:
    build()
    env = sanitizer_environment()
    check_canary(env)
    check_build(env)
    sys.stdout.flush()
    return subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, *tests()], cwd=ROOT, env=env, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
