"""Cutting a log behind an LSN: what is before stays, what is behind is in quarantine, at every place and crash."""

import random

import pytest
from msgpack import packb
from support.crash_disk import Crash, CrashDisk
from support.engine_run import DIRECTORY, NOTHING, TINY, contents, open_engine, run_jobs, seeded_bytes
from support.history import Contents

from sherd.common.clock import ManualClock
from sherd.common.errors import StoreLocked
from sherd.shard.lsm.cutting import PastFork, cut_log
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.manifest import read_manifest
from sherd.shard.lsm.quarantine import quarantined

pytestmark = pytest.mark.core


def filled(disk: CrashDisk, flush: bool) -> dict[int, Contents]:
    """A closed store of several segments; what it held at each LSN from the last flush on."""
    engine = open_engine(disk)
    choice = random.Random(1)
    if flush:
        for number in range(100):
            engine.put(b"old%d" % number, packb(bytes(200)))
        engine.request_flush()
        run_jobs(engine, disk)
    states = {engine.last_lsn: contents(engine)}
    for _ in range(160):
        engine.put(b"key%02d" % choice.randrange(40), packb(bytes(choice.randrange(1, 400))))
        engine.commit()
        states[engine.last_lsn] = contents(engine)
    engine.close()
    return states


def follow(disk: CrashDisk) -> Engine:
    return Engine.open(DIRECTORY, TINY, disk, ManualClock(), random=seeded_bytes(3), follow=True)


@pytest.mark.parametrize("flush", [False, True])
def test_the_log_ends_where_it_was_cut(flush: bool) -> None:
    whole = CrashDisk()
    states = filled(whole, flush)
    last = max(states)
    for lsn in list(states)[::7]:
        disk = CrashDisk(whole.image())
        cut_log(disk, DIRECTORY, lsn)
        assert (len(quarantined(disk, DIRECTORY)) > 0) == (lsn < last)
        engine = follow(disk)
        assert engine.last_lsn == lsn
        assert contents(engine) == states[lsn]
        engine.close()


def test_what_is_in_tables_is_not_cut() -> None:
    disk = CrashDisk()
    states = filled(disk, True)
    before = read_manifest(disk, DIRECTORY)
    with pytest.raises(PastFork):
        cut_log(disk, DIRECTORY, min(states) - 1)
    assert read_manifest(disk, DIRECTORY) == before


def test_terms_behind_the_cut_are_forgotten() -> None:
    disk = CrashDisk()
    states = filled(disk, False)
    engine = open_engine(disk)
    engine.put(b"later", b"1")
    engine.close()
    cut_log(disk, DIRECTORY, max(states))
    engine = follow(disk)
    assert [term for term, _ in engine.terms] == [1]
    assert engine.last_lsn == max(states)
    engine.close()


def test_a_cut_that_crashed_anywhere_can_be_made_again() -> None:
    whole = CrashDisk()
    states = filled(whole, True)
    lsn = sorted(states)[20]
    counting = CrashDisk(whole.image())
    cut_log(counting, DIRECTORY, lsn)
    for index in range(len(counting.operations)):
        for survives in (None, NOTHING):
            disk = CrashDisk(whole.image())
            disk.crash_at(index)
            with pytest.raises(Crash):
                cut_log(disk, DIRECTORY, lsn)
            image = disk.image() if survives is None else disk.image().power_cut(survives, index)
            after = CrashDisk(image)
            engine = follow(after)  # it starts, with the log cut or not
            assert engine.last_lsn in states
            engine.close()
            cut_log(after, DIRECTORY, lsn)
            engine = follow(after)
            assert (engine.last_lsn, contents(engine)) == (lsn, states[lsn])
            engine.close()


def test_a_directory_in_use_is_left_alone() -> None:
    disk = CrashDisk()
    engine = open_engine(disk)
    with pytest.raises(StoreLocked):
        cut_log(disk, DIRECTORY, engine.last_lsn)
    engine.close()
