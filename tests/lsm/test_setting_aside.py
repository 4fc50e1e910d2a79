"""A store that is set aside: nothing of it is lost, nothing of it is left, and a crash anywhere can be gone on from."""

import pytest
from msgpack import packb
from support.crash_disk import Crash, CrashDisk
from support.engine_run import DIRECTORY, NOTHING, TINY, contents, open_engine, run_jobs, seeded_bytes

from sherd.common.clock import ManualClock
from sherd.common.errors import StoreCorrupt, StoreLocked
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import LOCK_NAME, MANIFEST_NAME, QUARANTINE_NAME
from sherd.shard.lsm.setting_aside import set_aside

pytestmark = pytest.mark.core


def store(*, tables: bool) -> CrashDisk:
    """Of two segments, and of several tables or of none."""
    disk = CrashDisk()
    engine = open_engine(disk)
    for number in range(60):
        engine.put(b"key%03d" % number, packb(bytes(200)))
        if number % 20 == 0:
            engine.commit()
            engine.roll()
    if tables:
        engine.request_flush()
        run_jobs(engine, disk)
        engine.put(b"in the log", b"\x01")
    engine.close()
    return disk


def files(disk: CrashDisk, path: str) -> dict[str, bytes]:
    found = {}
    for name in disk.listdir(path):
        if name not in (LOCK_NAME, QUARANTINE_NAME):
            file = disk.open_read(f"{path}/{name}")
            found[name] = file.pread(file.size(), 0)
            file.close()
    return found


def follow(disk: CrashDisk) -> Engine:
    return Engine.open(DIRECTORY, TINY, disk, ManualClock(), random=seeded_bytes(3), follow=True)


def test_everything_is_kept_and_the_store_begins_anew() -> None:
    disk = store(tables=True)
    before = files(disk, DIRECTORY)
    assert set_aside(disk, DIRECTORY) == len(before) > 3
    assert files(disk, f"{DIRECTORY}/{QUARANTINE_NAME}") == before
    assert files(disk, DIRECTORY) == {}
    engine = follow(disk)
    assert (engine.last_lsn, engine.term, contents(engine)) == (0, 0, {})
    with pytest.raises(StoreLocked):
        set_aside(disk, DIRECTORY)
    engine.close()
    set_aside(disk, DIRECTORY)
    assert {**files(disk, f"{DIRECTORY}/{QUARANTINE_NAME}"), **before}.keys() > before.keys()


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("survives", [None, NOTHING])
def test_a_crash_anywhere_leaves_a_store_that_refuses_or_none(survives: object, tables: bool) -> None:
    origin = store(tables=tables)
    before = files(origin, DIRECTORY)
    counting = CrashDisk(origin.image())
    set_aside(counting, DIRECTORY)
    for index in range(len(counting.operations)):
        disk = CrashDisk(origin.image())
        disk.crash_at(index)
        with pytest.raises(Crash):
            set_aside(disk, DIRECTORY)
        image = disk.image() if survives is None else disk.image().power_cut(NOTHING, index)
        after = CrashDisk(image)
        left = files(after, DIRECTORY)
        kept = dict(left)
        if after.exists(f"{DIRECTORY}/{QUARANTINE_NAME}"):
            kept |= files(after, f"{DIRECTORY}/{QUARANTINE_NAME}")
        assert kept == before
        if MANIFEST_NAME not in left and left:
            with pytest.raises(StoreCorrupt, match="MANIFEST is missing"):
                follow(CrashDisk(after.image()))
        else:  # it was not begun, or is done
            assert left in (before, {})
        set_aside(after, DIRECTORY)
        assert files(after, DIRECTORY) == {}
        follow(after).close()
