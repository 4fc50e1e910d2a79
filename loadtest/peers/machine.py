"""Facts about machine and builds that have to stand beside a figure."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import sherd
from sherd.common.build import is_compiled

PACKAGES = ("rocksdict", "plyvel", "lmdb", "redis")
PROGRAMS = {
    "redis-server": ("redis-server", "--version"),
    "nutcracker": ("nutcracker", "--version"),
    "tarantool": ("tarantool", "--version"),
    "gcc": ("gcc", "--version"),
    "etcd": ("etcd", "--version"),
}


def machine_facts() -> dict[str, object]:
    """Absent software is left out."""
    facts: dict[str, object] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "Sherd": f"{sherd.__version__} {'compiled' if is_compiled() else 'interpreted'}",
    }
    for package in PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    for program, command in PROGRAMS.items():
        if line := _first_line(command):
            facts[program] = line
    return facts


def processor() -> str:
    """The model as the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _first_line(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else ""
