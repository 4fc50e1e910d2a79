"""The simulator as a whole: a service with faults keeps its promises, a careless one is caught, and a seed repeats."""

import os

import pytest

from sim.counterexample import NotLinearizable, check
from sim.history import Outcome
from sim.replay import digest_of
from sim.simulation import Simulation
from sim.small_service import run

SEEDS = int(os.environ.get("SHERD_SIM_SEEDS", "6"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_careful_service_is_linearizable(seed: int) -> None:
    with Simulation(seed) as sim:
        history = run(sim)
        assert check(history.operations) == 800
        assert sum(op.outcome is Outcome.OK for op in history.operations) > 100


def test_there_are_outcomes_of_all_kinds() -> None:
    with Simulation(1) as sim:
        assert {op.outcome for op in run(sim, count=400).operations} == set(Outcome)


def test_a_careless_service_is_caught() -> None:
    caught = 0
    for seed in range(8):
        with Simulation(seed) as sim:
            try:
                check(run(sim, careless=True).operations)
            except NotLinearizable:
                caught += 1
    assert caught >= 2


def test_one_seed_one_run() -> None:
    def digest(seed: int) -> tuple[str, int, float]:
        with Simulation(seed) as sim:
            run(sim, count=20)
            return sim.digest, sim.scheduler.events, sim.now

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_a_seed_repeats_in_another_interpreter_whatever_its_hashes() -> None:
    found = {digest_of("sim.small_service:run", 5, hash_seed) for hash_seed in (0, 1)}
    with Simulation(5) as sim:
        run(sim)
        found.add(sim.digest)
    assert len(found) == 1
