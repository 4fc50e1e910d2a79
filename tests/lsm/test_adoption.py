"""A store made of another's tables: complete or not at all, and nothing of the old one is lost that might matter."""

import random

import pytest
from msgpack import packb
from support.crash_disk import Crash, CrashDisk
from support.engine_run import DIRECTORY, NOTHING, TINY, contents, open_engine, run_jobs, seeded_bytes
from support.history import Contents

from sherd.common.clock import ManualClock
from sherd.common.errors import StoreCorrupt
from sherd.shard.lsm.adoption import PART_SUFFIX, CopiedState, CopyDir, adopt
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import COPY_NAME, table_name
from sherd.shard.lsm.quarantine import quarantined

pytestmark = pytest.mark.core


def leader_with_tables() -> tuple[CrashDisk, CopiedState, Contents]:
    """A store that is all in tables of several levels."""
    disk = CrashDisk()
    engine = open_engine(disk)
    choice = random.Random(4)
    for _ in range(8):
        for _ in range(60):
            engine.put(b"key%03d" % choice.randrange(150), packb(bytes(choice.randrange(1, 300))))
        engine.request_flush()
        run_jobs(engine, disk)
    state, held = CopiedState.of(engine.installer.manifest), contents(engine)
    engine.close()
    return disk, state, held


def copy_tables(source: CrashDisk, target: CrashDisk, state: CopiedState) -> CopyDir:
    copies = CopyDir(target, DIRECTORY)
    for table in state.tables:
        if copies.has(state, table):
            continue
        part = copies.path_of(state, table) + PART_SUFFIX
        if target.exists(part):
            target.unlink(part)
        file = target.create(part)
        file.write(source.open_read(f"{DIRECTORY}/{table_name(table.number)}").pread(table.bytes, 0))
        file.sync()
        file.close()
        copies.finish(state, table, part)
    return copies


def follow(disk: CrashDisk) -> Engine:
    return Engine.open(DIRECTORY, TINY, disk, ManualClock(), random=seeded_bytes(3), follow=True)


def old_store() -> CrashDisk:
    disk = CrashDisk()
    engine = open_engine(disk)
    for number in range(100):
        engine.put(b"mine%d" % number, packb(bytes(300)))
    engine.request_flush()
    run_jobs(engine, disk)
    engine.put(b"unsent", b"1")
    engine.close()
    return disk


@pytest.mark.parametrize("old", [False, True])
def test_the_store_holds_what_the_tables_hold(old: bool) -> None:
    source, state, held = leader_with_tables()
    disk = old_store() if old else CrashDisk()
    copy_tables(source, disk, state)
    adopt(disk, DIRECTORY, state, seeded_bytes(5), 0 if old else None)
    assert (len(quarantined(disk, DIRECTORY)) > 0) == old
    engine = follow(disk)
    assert contents(engine) == held
    assert (engine.last_lsn, engine.terms) == (state.flushed_lsn, list(state.terms))
    assert disk.listdir(f"{DIRECTORY}/{COPY_NAME}") == []
    assert engine.get(b"unsent") is None
    engine.close()


def test_a_table_that_arrives_damaged_is_refused() -> None:
    source, state, _ = leader_with_tables()
    disk = CrashDisk()
    copies = CopyDir(disk, DIRECTORY)
    table = state.tables[0]
    data = bytearray(source.open_read(f"{DIRECTORY}/{table_name(table.number)}").pread(table.bytes, 0))
    data[len(data) // 3] ^= 4
    part = copies.path_of(state, table) + PART_SUFFIX
    file = disk.create(part)
    file.write(bytes(data))
    file.sync()
    file.close()
    with pytest.raises(StoreCorrupt, match="arrived damaged"):
        copies.finish(state, table, part)
    assert not copies.has(state, table)


def test_what_is_not_of_this_copy_is_removed() -> None:
    source, state, _ = leader_with_tables()
    disk = CrashDisk()
    copies = copy_tables(source, disk, state)
    disk.create(f"{DIRECTORY}/{COPY_NAME}/other.part").close()
    copies.keep_only(state)
    assert len(disk.listdir(f"{DIRECTORY}/{COPY_NAME}")) == len(state.tables)
    copies.keep_only(CopiedState(b"another store   ", state.tables, 1, 1, ()))
    assert disk.listdir(f"{DIRECTORY}/{COPY_NAME}") == []


@pytest.mark.parametrize("survives", [None, NOTHING])
def test_a_crash_anywhere_leaves_the_old_store_or_the_new_one(survives: object) -> None:
    source, state, held = leader_with_tables()
    before = old_store()
    copy_tables(source, before, state)
    old = follow(CrashDisk(before.image()))
    was = contents(old)
    old.close()
    counting = CrashDisk(before.image())
    adopt(counting, DIRECTORY, state, seeded_bytes(5), 0)
    for index in range(len(counting.operations)):
        disk = CrashDisk(before.image())
        disk.crash_at(index)
        with pytest.raises(Crash):
            adopt(disk, DIRECTORY, state, seeded_bytes(5), 0)
        image = disk.image() if survives is None else disk.image().power_cut(NOTHING, index)
        after = CrashDisk(image)
        engine = follow(after)
        assert contents(engine) in (was, held)
        engine.close()
        copy_tables(source, after, state)
        adopt(after, DIRECTORY, state, seeded_bytes(6), 0)
        engine = follow(after)
        assert contents(engine) == held
        engine.close()
