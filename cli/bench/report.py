"""What a run found out, as one object for machines and as a table for people."""

import os

from sherd.cli.bench.plan import Plan
from sherd.cli.bench.tally import Tally

QUANTILES = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}


def report_of(plan: Plan, tally: Tally, seconds: float, busy_seconds: float) -> dict[str, object]:
    """The report; its names stand in docs/bench.md."""
    report: dict[str, object] = {
        "workload": plan.workload,
        "protocol": plan.protocol,
        "connections": plan.lanes,
        "pipeline": plan.depth,
        "rate": plan.rate,
        "keys": plan.keys,
        "distribution": plan.key_distribution,
        "value_bytes": plan.value_bytes if not plan.value_bytes.isdigit() else int(plan.value_bytes),
        "requests": tally.requests,
        "seconds": round(seconds, 3),
        "per_second": _rate(tally.requests, seconds),
    }
    if plan.workload in ("scan", "e", "fullscan"):
        report |= {"rows": tally.rows, "rows_per_second": _rate(tally.rows, seconds)}
    if plan.workload in ("mget", "batch"):
        report |= {"keys_touched": tally.keys, "keys_per_second": _rate(tally.keys, seconds)}
    report |= {"errors": tally.errors, "first_error": tally.first_error, "missing": tally.missing}
    report |= {name: round(tally.histogram.quantile(q) / 1e3, 1) for name, q in QUANTILES.items()}
    report |= {
        "max_us": round(tally.histogram.max_ns / 1e3, 1),
        "longest_gap_ms": round(tally.longest_gap / 1e6, 1),
    }
    if plan.rate is not None:
        report["behind_max_ms"] = round(tally.behind_max / 1e6, 1)
    report["generator_cpu_us_per_request"] = round(busy_seconds * 1e6 / max(1, tally.requests), 2)
    report["pid"] = os.getpid()
    return report


def _rate(count: int, seconds: float) -> int:
    return round(count / seconds) if seconds > 0 else 0


def table(report: dict[str, object]) -> str:
    """The report as lines of name and value, units beside the values."""
    return "\n".join(
        f"{_label(name):<30} {_shown(name, value)}"
        for name, value in report.items()
        if value is not None and value != ""
    )


def _label(name: str) -> str:
    for unit in ("_us", "_ms"):
        name = name.removesuffix(unit)
    return name.replace("_us_", "_").replace("p999", "p99.9").replace("_", " ")


def _shown(name: str, value: object) -> str:
    if name == "pid" or not isinstance(value, (int, float)):
        return str(value)
    unit = " us" if name.endswith("_us") or "_us_" in name else " ms" if name.endswith("_ms") else ""
    return f"{value:,}{unit}"
