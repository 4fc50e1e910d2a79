"""The same operations under other options give the same answers, and those of a sorted dict."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.crash_disk import CrashDisk
from support.crash_run import call_store
from support.engine_run import COMPILED, DIRECTORY, TINY, check_reads_agree, contents, open_engine, run_jobs, stage
from support.history import Change, Contents
from support.workload import KEYS as WORKLOAD_KEYS
from support.workload import single_calls, value_of

from sherd.common.clock import ManualClock
from sherd.common.errors import Overloaded
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.store import Store

pytestmark = pytest.mark.core

OPTIONS = {
    "tiny": TINY,
    "tiny, many levels": replace(TINY, level_base_bytes=4 << 10, level0_tables_compact=1),
    "tiny, no filter, no cache, two files": replace(TINY, bloom_bits_per_key=0, cache_bytes=0, open_files_max=4),
    "small, zstd": replace(TINY, memtable_bytes=64 << 10, block_bytes=2048, compression="zstd:3"),
    "small, uncompressed": replace(TINY, memtable_bytes=32 << 10, compression="none", level0_tables_compact=6),
    "all in memory": EngineOptions(memtable_bytes=8 << 20, cache_bytes=1 << 20),
}
CALLS = 1500 if COMPILED else 500
KEYS = [b"%03d" % number for number in range(150)]


def calls(seed: int, count: int) -> Iterator[list[Change] | str]:
    """Puts, deletes and batches that wander over the keys, so that levels come to overlap; and restarts."""
    dice = random.Random(seed)
    for number in range(count):
        if dice.random() < 4 / count:
            yield dice.choice(("reopen", "kill"))
        near = number * len(KEYS) // count * 3
        size = dice.choice((1, 1, 1, 3))
        yield [
            (
                KEYS[(near + dice.randint(0, 60)) % len(KEYS)],
                None if dice.random() < 0.35 else value_of(number, dice.randint(1, 900)),
            )
            for _ in range(size)
        ]


def take(engine: Engine, disk: CrashDisk, options: EngineOptions, changes: list[Change]) -> tuple[list[int], int]:
    try:
        return stage(engine, changes)
    except Overloaded:
        run_jobs(engine, disk, options)
        return stage(engine, changes)


def play(seed: int, options: EngineOptions, count: int) -> tuple[list[tuple[list[int], int]], list[Contents]]:
    """What every call answered, and what was there at several moments."""
    dice = random.Random(seed + 1)
    disk, clock = CrashDisk(), ManualClock()
    engine = open_engine(disk, options, clock=clock)
    answers: list[tuple[list[int], int]] = []
    seen: list[Contents] = []
    model: Contents = {}
    for turn, call in enumerate(calls(seed, count)):
        if isinstance(call, str):
            if call == "reopen":
                engine.close(True)
            disk = CrashDisk(disk.image())
            engine = open_engine(disk, options, clock=clock, seed=turn)
            continue
        versions, last_lsn = take(engine, disk, options, call)
        engine.commit()
        answers.append((versions, last_lsn))
        for (key, value), version in zip(call, versions, strict=True):
            model.pop(key, None)
            if value is not None:
                model[key] = (value, version)
        if dice.random() < 0.2:
            run_jobs(engine, disk, options, dice.choice((1, 2, 100)))
        if turn % 50 == 0:
            found = contents(engine)
            assert found == model, f"after call {turn}"
            seen.append(found)
    engine.request_compact()
    run_jobs(engine, disk, options)
    found = contents(engine)
    assert found == model
    check_reads_agree(engine, found, [key for key in KEYS if key not in found])
    engine.close(True)
    return answers, [*seen, found]


def test_other_options_give_the_same_answers() -> None:
    results = {name: play(1, options, CALLS) for name, options in OPTIONS.items()}
    first = results.pop("tiny")
    for name, other in results.items():
        assert other == first, name


def answers_of_store(options: EngineOptions) -> list[object]:
    """What a ``Store`` answers to a fixed run of calls, with restarts in it, and what it holds in the end."""
    disk, clock = CrashDisk(), ManualClock()
    store = Store.open(DIRECTORY, options=options, disk=disk, clock=clock)
    answers: list[object] = []
    for number, step in enumerate(single_calls(seed=8, writes=150)):
        if step.kind == "write":
            answers.append(call_store(store, step.changes))
        elif step.kind == "wait":
            clock.advance(step.seconds)
        if number % 70 == 69:
            store.close()
            store = Store.open(DIRECTORY, options=options, disk=disk, clock=clock)
    answers += [list(store.scan()), list(store.scan(reverse=True)), store.count(), store.mget(list(WORKLOAD_KEYS))]
    store.close()
    return answers


def test_every_fsync_policy_gives_the_same_answers() -> None:
    first, *others = (
        answers_of_store(replace(options, fsync=fsync))
        for fsync in ("always", "ops:1", "ops:10", "interval:100ms", "os")
        for options in (TINY, OPTIONS["all in memory"])
    )
    for other in others:
        assert other == first


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 30))
def test_other_options_give_the_same_answers_for_long(seed: int) -> None:
    results = {name: play(seed, options, 20_000) for name, options in OPTIONS.items()}
    first = results.pop("tiny")
    for name, other in results.items():
        assert other == first, name
