"""The command line of the comparison, and the order of its sections."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from peers.calibration import calibrate, file_system, remarks_on
from peers.child import ChildFailed
from peers.client_section import client_section
from peers.engine_section import amplification_section, engine_section, sizes_section
from peers.generator import BenchFailed
from peers.generator_section import generator_section
from peers.machine import machine_facts
from peers.plots import draw_plots
from peers.processes import NotServing
from peers.quiet import quiet_remark
from peers.range_section import range_section
from peers.report import markdown
from peers.rows import Results
from peers.server_section import always_section, latency_section, server_section
from peers.settings import SECTIONS, Settings

Section = Callable[[Settings, Results], None]

SECTION_OF: dict[str, Section] = {
    "generator": generator_section,
    "servers": server_section,
    "always": always_section,
    "ranges": range_section,
    "latency": latency_section,
    "engines": engine_section,
    "client": client_section,
    "amplification": amplification_section,
    "sizes": sizes_section,
}
DEFAULTS = Settings(Path())


def parser() -> argparse.ArgumentParser:
    """Of compare.py."""
    command = argparse.ArgumentParser(
        prog="compare.py",
        description="Run Sherd and its peers in alternation on this machine and compare them. Writes results.json, "
        "results.md and PNG plots. Peers that are not installed are named as absent.",
    )
    option = command.add_argument
    option("--rounds", type=int, default=DEFAULTS.rounds, help="of every measurement; medians count [%(default)s]")
    option("--seconds", type=float, default=DEFAULTS.seconds, help="of a measurement of a server [%(default)s]")
    option("--only", type=_sections, default=SECTIONS, metavar="SECTION,...", help=f"of {', '.join(SECTIONS)} [all]")
    option("--out", type=Path, default=Path("build/peers"), metavar="DIR", help="for the results [%(default)s]")
    option("--work", type=Path, metavar="DIR", help="where servers and engines keep their data [a temporary one]")
    option("--keys", type=int, default=DEFAULTS.keys, help="in servers, 100-byte values [%(default)s]")
    option("--large-keys", type=int, default=DEFAULTS.large_keys, help="in servers, 1 KiB values [%(default)s]")
    option("--engine-keys", type=int, default=DEFAULTS.engine_keys, help="in engines [%(default)s]")
    option("--amplification-keys", type=int, default=DEFAULTS.amplification_keys, help="random puts [%(default)s]")
    option("--size-keys", type=_numbers, default=DEFAULTS.size_keys, metavar="N,...", help="data sizes of the plot")
    option("--rates", type=_numbers, default=DEFAULTS.offered_rates, metavar="N,...", help="offered requests/s")
    option("--steady-seconds", type=float, default=DEFAULTS.steady_seconds, help="of the steady row of sets; 0: none")
    option("--no-peers", action="store_true", help="measure Sherd alone")
    return command


def _sections(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := set(chosen) - set(SECTIONS):
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(sorted(unknown))}")
    return chosen


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def settings_of(options: argparse.Namespace, work: Path) -> Settings:
    """The options of one run as its settings."""
    return Settings(
        work=work,
        rounds=options.rounds,
        seconds=options.seconds,
        sections=options.only,
        keys=options.keys,
        large_keys=options.large_keys,
        engine_keys=options.engine_keys,
        amplification_keys=options.amplification_keys,
        size_keys=options.size_keys,
        steady_seconds=options.steady_seconds,
        peers=not options.no_peers,
        offered_rates=options.rates,
    )


def run(settings: Settings, out: Path) -> Results:
    """All sections; results are written after each, so that a run that is cut short leaves what it has."""
    results = Results()
    facts = {**machine_facts(), "rounds": settings.rounds, "began": time.strftime("%Y-%m-%d %H:%M")}
    out.mkdir(parents=True, exist_ok=True)
    before = calibrate(settings.work)
    for name in settings.sections:
        print(f"{name}:", flush=True)
        try:
            SECTION_OF[name](settings, results)
        except (BenchFailed, ChildFailed, NotServing) as error:  # the other sections are worth their time
            results.failures.append(f"{name}: {error}")
            print(f"  FAILED {error}", file=sys.stderr)
        write(results, facts, out)
    results.remarks += remarks_on(file_system(settings.work), before, calibrate(settings.work))
    if remark := quiet_remark(results):
        results.remarks.insert(0, remark)
    for path in draw_plots(results, out):
        print(path)
    write(results, facts, out)
    return results


def write(results: Results, facts: dict[str, object], out: Path) -> None:
    """results.json and results.md."""
    document = {
        "machine": facts,
        "rows": [row.to_json() for row in results.rows],
        "absent": results.absent,
        "remarks": results.remarks,
        "failures": results.failures,
    }
    (out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / "results.md").write_text(markdown(results, facts))


def _stop(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when the run is complete, whatever the verdicts; 1 if a section broke off."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)  # so that servers are stopped
    work = Path(tempfile.mkdtemp(prefix="peers-", dir=options.work))
    try:
        results = run(settings_of(options, work), options.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print((options.out / "results.md").read_text())
    return 1 if results.failures else 0
