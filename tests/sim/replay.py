"""Runs a simulation in an interpreter of its own, where nothing differs between two runs but the seed.

    PYTHONPATH=tests python -m sim.replay sim.small_service:run 7

``MODULE:FUNCTION`` names a function of a ``Simulation``. The hash of its trace, the number of events and the seconds of
virtual time are printed; with ``--trace`` also the last lines of the trace. Hashes of ``str`` are fixed
(PYTHONHASHSEED), and objects lie at the same addresses, where the system lets a process ask for that: so that even a
set that is walked in the order of addresses is walked in the same one.
"""

import argparse
import ctypes
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sim.simulation import Simulation

ADDR_NO_RANDOMIZE = 0x0040000  # of linux/personality.h
STAGE = "SHERD_REPLAY_STAGE"


def digest_of(scenario: str, seed: int, hash_seed: int = 0, seconds_max: float = 250.0) -> str:
    """The trace's hash of ``MODULE:FUNCTION`` in an interpreter with that hash seed. RuntimeError if it failed."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-m", "sim.replay", scenario, str(seed)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds_max, check=False)
    if ended.returncode:
        raise RuntimeError(f"{scenario} with seed {seed} failed:\n{ended.stderr}")
    return ended.stdout.split()[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="sim.replay", description=__doc__.partition("\n")[0])
    parser.add_argument("scenario", metavar="MODULE:FUNCTION")
    parser.add_argument("seed", type=int)
    parser.add_argument("--trace", action="store_true")
    arguments = parser.parse_args()
    if STAGE not in os.environ:
        _begin_anew()
    module, _, function = arguments.scenario.partition(":")
    scenario: Callable[[Simulation], object] = getattr(importlib.import_module(module), function)
    with Simulation(arguments.seed) as sim:
        try:
            scenario(sim)
        finally:
            if arguments.trace:
                print("\n".join(sim.scheduler.trace.lines), file=sys.stderr)
        outcome = f"{sim.digest} {sim.scheduler.events} {sim.now:.6f}"
    print(outcome)


def _begin_anew() -> None:
    """Start this interpreter again with fixed hashes, and fixed addresses if the system allows it."""
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)
    env = {**os.environ, STAGE: "1"}
    env.setdefault("PYTHONHASHSEED", "0")
    os.execve(sys.executable, [sys.executable, "-m", "sim.replay", *sys.argv[1:]], env)


if __name__ == "__main__":
    main()
