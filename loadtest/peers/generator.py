"""Runs ``sherd bench``, the one load generator that drives every server, and reads its report."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

from peers.quiet import Watch
from peers.rows import Sample
from peers.server import Server

EXTRA_SECONDS_MAX = 120.0
OWN_ROLE = "generator"
KEPT = (
    *("requests", "per_second", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"),
    *("longest_gap_ms", "behind_max_ms", "errors", "missing"),
)


class BenchFailed(Exception):
    """The generator could not do its work, or had errors for answers."""


@dataclass(frozen=True, slots=True)
class Load:
    """The options of one run; None leaves the generator's own default. No warm-up: see ``measure``."""

    workload: str
    connections: int = 50
    pipeline: int = 1
    seconds: float | None = None
    _: KW_ONLY
    requests: int | None = None
    rate: int | None = None
    keys: int | None = None
    value_bytes: int | None = None
    batch_keys: int | None = None
    scan_rows: int | None = None

    def arguments(self) -> list[str]:
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [f"--{name.replace('_', '-')}={value}" for name, value in given if value is not None]


def drive(server: Server, load: Load) -> dict[str, Any]:
    """The report of one run. Raises BenchFailed, also if a single answer was an error or a wrong value."""
    command = [sys.executable, "-P", "-m", "sherd.cli.main", "bench", f"--connect={server.address}"]
    command += [f"--protocol={server.protocol}", "--json", "--warmup=0", *load.arguments()]
    limit = EXTRA_SECONDS_MAX + (load.seconds or EXTRA_SECONDS_MAX * 10)
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        raise BenchFailed(f"{server.name}, {load.workload}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    if report.get("errors"):
        raise BenchFailed(f"{server.name}, {load.workload}: {report['errors']} errors, first {report['first_error']}")
    return report


def measure(server: Server, load: Load, figure: str = "per_second") -> Sample:
    """One run with the processor time of every process in it; ``figure`` of the report becomes the value.

    The generator's own warm-up is off, so that the requests of the report are those the processor time was spent on.
    """
    watch = Watch.start()
    before = server.usage()
    report = drive(server, load)
    used = server.usage().since(before)
    detail = {name: report.get(name) for name in KEPT} | watch.detail(sum(used.values()))
    return Sample(float(report[figure]), cpu_per_request(report, used), detail)


def cpu_per_request(report: Mapping[str, Any], used_seconds: Mapping[str, float]) -> dict[str, float]:
    """Microseconds by role, the generator's by its own account."""
    requests = report.get("requests") or 0
    costs = {role: seconds / requests * 1e6 for role, seconds in used_seconds.items()} if requests else {}
    if report.get("generator_cpu_us_per_request"):
        costs[OWN_ROLE] = float(report["generator_cpu_us_per_request"])
    return costs
