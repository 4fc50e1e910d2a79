"""Reads that meet what they cannot serve: CORRUPTION with file and offset, told once, and everything else goes on."""

import contextlib
import errno
import logging
import re
from collections.abc import Callable, Iterator

import pytest
from support.crash_disk import CrashDisk, Fault
from support.engine_run import DIRECTORY, open_engine, run_jobs
from support.workload import value_of

from sherd.common.clock import ManualClock
from sherd.common.errors import Conflict, Corruption, StoreCorrupt, Unavailable
from sherd.shard.lsm.damage import PLACES_MAX, Damage
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.job_types import CompactJob
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.store import Store
from sherd.shard.lsm.verify import verify_open

pytestmark = pytest.mark.core

OPTIONS = EngineOptions(memtable_bytes=256 << 10, block_bytes=512, cache_bytes=0, compression="none")
KEYS = [b"k%03d" % number for number in range(60)]
PLACE = re.compile(r"/data/000\d+\.sst.* byte \d+")
IN_MEMORY = b"memory"


@pytest.fixture
def disk() -> CrashDisk:
    disk = CrashDisk()
    engine = open_engine(disk, OPTIONS)
    for key in KEYS:
        engine.put(key, value_of(0, 100))
    engine.request_flush()
    run_jobs(engine, disk, OPTIONS)
    engine.close()
    return disk


@pytest.fixture
def engine(disk: CrashDisk) -> Iterator[Engine]:
    engine = open_engine(disk, OPTIONS, seed=1)
    engine.put(IN_MEMORY, value_of(1, 9))
    yield engine
    engine.close(clean=False)


READS: dict[str, Callable[[Engine], object]] = {
    "get": lambda engine: engine.get(KEYS[7]),
    "scan": lambda engine: engine.scan_page(None, None),
    "scan backwards": lambda engine: engine.scan_page(None, None, True),
    "count": lambda engine: engine.count_page(None, None),
    "conditional put": lambda engine: engine.put(KEYS[7], b"\x01", 0, 3),
    "delete": lambda engine: engine.delete(KEYS[7]),
    "batch": lambda engine: engine.batch([(1, b"new", b"\x01", 0, -1), (2, KEYS[7], None, 0, -1)]),
    "snapshot get": lambda engine: engine.snapshot().get(KEYS[7]),
    "snapshot count": lambda engine: engine.snapshot().count(None, None),
}
each_read = pytest.mark.parametrize("read", READS.values(), ids=READS.keys())


def check_goes_on(engine: Engine, read: Callable[[Engine], object]) -> None:
    """Nothing was staged by the read that failed, memory is served, writes are taken, and it works again."""
    before = engine.last_lsn
    assert engine.get(IN_MEMORY) is not None
    engine.put(b"later", b"\x02")
    engine.commit()
    assert engine.last_lsn == before + 1
    assert not engine.poisoned
    with contextlib.suppress(Conflict):  # it could see that the condition does not hold
        read(engine)


@each_read
@pytest.mark.parametrize("opened", [False, True])
def test_a_block_that_the_disk_does_not_give(
    disk: CrashDisk, engine: Engine, read: Callable[[Engine], object], opened: bool, caplog: pytest.LogCaptureFixture
) -> None:  # FAULTS 13
    if opened:
        assert engine.get(KEYS[40]) is not None
    lsn = engine.last_lsn
    disk.read_faults = [Fault("pread", errno.EIO, ".sst")]
    with caplog.at_level(logging.ERROR), pytest.raises(Corruption, match="Input/output") as caught:
        read(engine)
    assert PLACE.search(str(caught.value))
    assert engine.last_lsn == lsn
    assert [record.getMessage() for record in caplog.records] == [f"read met damage: {caught.value.message}"]
    assert engine.status()["corrupt"] == 1
    assert engine.status()["damaged"] == [caught.value.message]
    check_goes_on(engine, read)


@each_read
def test_a_table_that_does_not_open(disk: CrashDisk, engine: Engine, read: Callable[[Engine], object]) -> None:
    disk.read_faults = [Fault("open", errno.EACCES, ".sst")]
    with pytest.raises(Corruption, match="Permission") as caught:
        read(engine)
    assert PLACE.search(str(caught.value))


@each_read
def test_a_table_that_is_gone(disk: CrashDisk, engine: Engine, read: Callable[[Engine], object]) -> None:  # FAULTS 14
    """It was there when the store was opened; what may not start without it, serves on what it has."""
    [path] = [path for path in disk.files(DIRECTORY) if path.endswith(".sst")]
    disk.unlink(path)
    with pytest.raises(Corruption, match=r"/data/000\d+\.sst is missing"):
        read(engine)
    assert engine.get(IN_MEMORY) is not None


@each_read
def test_a_table_that_was_cut(disk: CrashDisk, engine: Engine, read: Callable[[Engine], object]) -> None:
    [path] = [path for path in disk.files(DIRECTORY) if path.endswith(".sst")]
    disk.replace(path, disk.read(path)[:-1])
    with pytest.raises(Corruption, match=r"/data/000\d+\.sst"):
        read(engine)


@pytest.mark.parametrize("gone", [True, False])
def test_a_table_whose_file_was_closed_and_is_damaged_since(disk: CrashDisk, engine: Engine, gone: bool) -> None:
    """Index and filter stay in memory when too many files are open; the next read opens the file again."""
    assert engine.get(KEYS[7]) is not None
    [path] = [path for path in disk.files(DIRECTORY) if path.endswith(".sst")]
    for handle in engine.installer.version.handles():
        handle.table().release()
    if gone:
        disk.unlink(path)
    else:
        disk.replace(path, disk.read(path)[:100])
    for _ in range(2):
        with pytest.raises(Corruption, match=rf"{path}.* byte \d+"):
            engine.get(KEYS[50])


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_process_lacks_is_no_damage(disk: CrashDisk, engine: Engine, error: int) -> None:  # FAULTS 30
    disk.read_faults = [Fault("open", error, ".sst")]
    with pytest.raises(Unavailable, match=r"000\d+\.sst.* cannot be read for now"):
        engine.get(KEYS[7])
    assert engine.status()["corrupt"] == 0
    assert engine.get(KEYS[7]) is not None


def test_one_place_is_told_once(disk: CrashDisk, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    assert engine.get(KEYS[0]) is not None
    disk.read_faults = [Fault("pread", errno.EIO, ".sst", times=None)]
    with caplog.at_level(logging.ERROR):
        for key in [KEYS[7]] * 5 + [KEYS[50]]:
            with pytest.raises(Corruption):
                engine.get(key)
    assert len(caplog.records) == 2
    assert engine.status()["corrupt"] == 6


def test_places_are_bounded() -> None:
    damage = Damage()
    for number in range(2 * PLACES_MAX):
        damage.met(Corruption(f"/d/{number}.sst"))
    assert len(damage.places) == PLACES_MAX
    assert damage.reads == 2 * PLACES_MAX


def test_a_compaction_names_what_it_could_not_read(disk: CrashDisk, engine: Engine) -> None:
    for key in KEYS[:5]:
        engine.delete(key)
    engine.request_compact()
    while not isinstance(job := engine.next_job(), CompactJob):
        assert job is not None
        engine.install(job, run_job(job, DIRECTORY, disk, OPTIONS))
    disk.read_faults = [Fault("pread", errno.EIO, ".sst", after=4)]
    with pytest.raises(Corruption, match=r"/data/000\d+\.sst.* byte \d+ cannot be read"):
        run_job(job, DIRECTORY, disk, OPTIONS)


def test_verify_finds_it(disk: CrashDisk, engine: Engine) -> None:
    assert engine.get(KEYS[0]) is not None
    disk.read_faults = [Fault("pread", errno.EIO, ".sst", after=8)]
    report = verify_open(engine)
    assert len(report.findings) == 1
    assert "Input/output" in report.findings[0].message


def test_a_store_says_the_same(disk: CrashDisk) -> None:
    with Store.open(DIRECTORY, options=OPTIONS, disk=disk, clock=ManualClock()) as db:
        disk.read_faults = [Fault("pread", errno.EIO, ".sst", times=None)]
        for read in (
            lambda: db.get(KEYS[3]),
            lambda: db.mget(KEYS),
            lambda: list(db.scan()),
            lambda: db.count(),
            lambda: db.put(KEYS[3], 1, if_version=7),
            lambda: db.snapshot().get(KEYS[3]),
        ):
            with pytest.raises(Corruption, match=r"/data/000\d+\.sst.* byte \d+"):
                read()
        disk.read_faults = []
        assert db.count() == len(KEYS)


def test_a_start_still_refuses(disk: CrashDisk) -> None:
    [path] = [path for path in disk.files(DIRECTORY) if path.endswith(".sst")]
    disk.unlink(path)
    with pytest.raises(StoreCorrupt, match="missing"):
        open_engine(disk, OPTIONS, seed=1)
