"""Many seeds of the simulated cluster, on several processors: ``make sim SEEDS=500``.

Each seed is a life of its own, under each of the shapes in turn. Prints a line for each that fails, with the command
that repeats it, and a summary: operations, terms, how often each fault came, processor time for a simulated minute.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from sim.chaos import Found, run
from sim.shapes import SHAPES
from sim.simulation import Simulation


@dataclass(frozen=True)
class Life:
    """What became of one seed. ``error`` is empty if all held."""

    seed: int
    shape: str
    found: Found = field(default_factory=Found)
    simulated_seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""


def live(seed: int) -> Life:
    """One life; its shape goes by the seed."""
    logging.disable(logging.CRITICAL)
    shape = list(SHAPES)[seed % len(SHAPES)]
    began = time.process_time()
    sim = Simulation(seed)
    error, found = "", Found()
    try:
        with sim:
            found = run(sim, SHAPES[shape])
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is told
        error = f"{type(failure).__name__} at {sim.now:.3f} s: {failure}"
    return Life(seed, shape, found, sim.now, time.process_time() - began, error)


def main() -> int:
    parser = argparse.ArgumentParser(prog="sim.many", description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    lives: list[Life] = []
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=20) as pool:
        for life in pool.imap_unordered(live, seeds):
            lives.append(life)
            if life.error:
                print(f"seed {life.seed} ({life.shape}): {life.error}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(lives)}/{len(seeds)}", end="", file=sys.stderr, flush=True)
    tell(lives)
    return 1 if any(life.error for life in lives) else 0


def tell(lives: list[Life]) -> None:
    """The summary."""
    faults: Counter[str] = Counter()
    for life in lives:
        faults.update(life.found.faults)
    minutes = sum(life.simulated_seconds for life in lives) / 60
    failed = [life.seed for life in lives if life.error]
    print(
        f"{len(lives)} seeds, {len(failed)} failed, {minutes:.0f} simulated minutes, "
        f"{sum(life.found.operations for life in lives)} operations, "
        f"{sum(life.found.succeeded for life in lives)} succeeded, {sum(life.found.terms for life in lives)} terms, "
        f"{sum(life.cpu_seconds for life in lives) / minutes:.2f} s of processor time for a simulated minute"
    )
    print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(faults.items())))
    if failed:
        print(f"again: make sim FIRST={failed[0]} SEEDS=1")


if __name__ == "__main__":
    sys.exit(main())
