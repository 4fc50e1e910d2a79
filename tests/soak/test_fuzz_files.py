"""Mutated records, blocks, tables and manifests by the million (`make soak`); a slice in each run. FAULTS 2, 13."""

import os
import random

import pytest
from support.fuzz_files import TARGETS
from support.mutation import Target, fuzz

SLICE_INPUTS = 1500
SEED = 20_000


@pytest.mark.core
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_slice(target: Target) -> None:
    assert fuzz(target, SLICE_INPUTS, SEED) >= 2  # what is good and what is refused


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_soak(target: Target) -> None:
    inputs = int(os.environ["SHERD_SOAK_INPUTS"])
    seed = random.SystemRandom().randrange(1 << 32)
    kinds = fuzz(target, inputs, seed)
    print(f"\n{target.name}: {inputs} inputs from seed {seed}, {kinds} kinds of answers")
