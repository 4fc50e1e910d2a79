"""The fault-injecting disk keeps the promises of ``common/disk.py`` and no more."""

import errno
import gc
import itertools

import pytest
from support.crash_disk import Crash, CrashDisk, Fault, Operation
from support.disk_image import Image
from support.survival import SECTOR_BYTES, SURVIVALS, Survival

from sherd.common.disk import Disk, RealDisk

pytestmark = pytest.mark.core

NOTHING = Survival("none", "none")
EVERYTHING = Survival("all", "all")
NAMES_ONLY = Survival("all", "none")


def made(path: str = "/f", data: bytes = b"abc", *, synced: bool = True, named: bool = True) -> CrashDisk:
    disk = CrashDisk()
    file = disk.create(path)
    file.write(data)
    if synced:
        file.sync()
    if named:
        disk.sync_dir("/")
    file.close()
    return disk


def cut(disk: CrashDisk, survival: Survival = NOTHING, seed: int = 0) -> CrashDisk:
    return CrashDisk(disk.image().power_cut(survival, seed))


def play(disk: Disk, base: str) -> list[object]:
    """The same calls on any disk; what they showed."""
    seen: list[object] = []
    disk.mkdir(f"{base}/d")
    disk.mkdir(f"{base}/d")
    file = disk.create(f"{base}/d/a")
    file.allocate(10)
    file.write(b"hello")
    file.write(memoryview(b"you"))
    seen += [file.size(), file.pread(4, 2), file.pread(100, 7), file.pread(5, 50)]
    file.truncate(6)
    seen.append(file.size())
    file.sync()
    file.close()
    more = disk.open_append(f"{base}/d/a")
    more.write(b"!")
    seen.append(more.pread(100, 0))
    more.close()
    within = disk.open_append(f"{base}/d/a", 2)
    within.write(b"LL")
    seen.append(within.pread(100, 0))
    within.close()
    disk.create(f"{base}/d/b").close()
    disk.rename(f"{base}/d/a", f"{base}/d/b")
    disk.sync_dir(f"{base}/d")
    seen += [sorted(disk.listdir(f"{base}/d")), disk.exists(f"{base}/d/a"), disk.exists(f"{base}/d/b")]
    reader = disk.open_read(f"{base}/d/b")
    disk.unlink(f"{base}/d/b")
    seen.append(reader.pread(100, 0))
    reader.close()
    held = disk.lock(f"{base}/d/LOCK")
    for attempt in (
        lambda: disk.create(f"{base}/d/LOCK"),
        lambda: disk.open_read(f"{base}/d/none"),
        lambda: disk.open_append(f"{base}/d/none"),
        lambda: disk.rename(f"{base}/d/none", f"{base}/d/x"),
        lambda: disk.unlink(f"{base}/d/none"),
        lambda: disk.listdir(f"{base}/none"),
        lambda: disk.create(f"{base}/none/a"),
        lambda: disk.sync_dir(f"{base}/none"),
        lambda: disk.lock(f"{base}/d/LOCK"),
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        seen.append((type(caught.value), caught.value.errno))
    held.release()
    disk.lock(f"{base}/d/LOCK").release()
    return seen


def test_it_answers_like_the_operating_system(tmp_path: object) -> None:
    assert play(CrashDisk(), "") == play(RealDisk(), str(tmp_path))


def test_a_kill_loses_nothing_that_was_written() -> None:
    disk = made(synced=False, named=False)
    after = CrashDisk(disk.image())
    assert after.read("/f") == b"abc"
    assert not cut(after).exists("/f"), "surviving a kill does not make it durable"


@pytest.mark.parametrize(("synced", "named"), [(False, False), (False, True), (True, False), (True, True)])
def test_a_power_cut_keeps_what_was_synced(synced: bool, named: bool) -> None:
    disk = made(synced=synced, named=named)
    assert cut(disk).exists("/f") == named
    if named:
        assert cut(disk).read("/f") == (b"abc" if synced else b"")
    assert cut(disk, EVERYTHING).read("/f") == b"abc"
    assert cut(disk, NAMES_ONLY).read("/f") == (b"abc" if synced else b"")


def test_a_rename_is_old_or_new_and_never_neither() -> None:
    disk = made("/old", b"old")
    file = disk.create("/new")
    file.write(b"new")
    file.sync()
    disk.rename("/new", "/old")
    found = {cut(disk, survival, seed).read("/old") for survival in SURVIVALS for seed in range(20)}
    assert found == {b"old", b"new"}
    disk.sync_dir("/")
    assert {cut(disk, survival, seed).read("/old") for survival in SURVIVALS for seed in range(20)} == {b"new"}


def test_a_rename_before_the_sync_may_expose_an_empty_file() -> None:
    disk = made("/old", b"old")
    disk.create("/new").write(b"new")
    disk.rename("/new", "/old")
    assert cut(disk, NAMES_ONLY).read("/old") == b""


def test_a_move_between_directories_loses_neither_end() -> None:
    disk = CrashDisk()
    disk.mkdir("/a")
    disk.mkdir("/b")
    disk.sync_dir("/")
    file = disk.create("/a/x")
    file.sync()
    disk.rename("/a/x", "/b/x")
    for survival, seed in itertools.product(SURVIVALS, range(20)):
        after = cut(disk, survival, seed)
        assert not (after.exists("/a/x") and after.exists("/b/x"))
    disk.sync_dir("/b")
    assert cut(disk).exists("/b/x")
    disk.sync_dir("/a")
    assert not cut(disk).exists("/a/x"), "a later sync of the source does not bring the old name back"


def test_files_of_a_lost_directory_are_lost() -> None:
    disk = CrashDisk()
    disk.mkdir("/d")
    file = disk.create("/d/x")
    file.sync()
    disk.sync_dir("/d")
    assert cut(disk).listdir("/") == []
    disk.sync_dir("/")
    assert cut(disk).files("/") == ["/d/x"]


def test_an_unlinked_file_may_come_back() -> None:
    disk = made()
    disk.unlink("/f")
    assert not disk.exists("/f")
    assert cut(disk).read("/f") == b"abc"
    disk.sync_dir("/")
    assert not cut(disk).exists("/f")


def test_unsynced_directory_entries_survive_in_any_combination() -> None:
    disk = CrashDisk()
    for name in "abc":
        disk.create(f"/{name}").close()
    some = Survival("some", "none")
    found = {tuple(cut(disk, some, seed).files("/")) for seed in range(200)}
    assert len(found) == 8
    prefixes = {tuple(cut(disk, Survival("prefix", "none"), seed).files("/")) for seed in range(50)}
    assert prefixes == {(), ("/a",), ("/a", "/b"), ("/a", "/b", "/c")}


def test_a_prefix_is_torn_at_any_byte() -> None:
    disk = made(data=b"", named=True)
    file = disk.open_append("/f")
    file.write(b"0123")
    file.write(b"4567")
    survivors = {cut(disk, Survival("none", "prefix"), seed).read("/f") for seed in range(400)}
    assert survivors == {b"01234567"[:end] for end in range(9)}


def test_sectors_survive_independently_over_all_files() -> None:
    disk = CrashDisk()
    for name in ("/a", "/b"):
        file = disk.create(name)
        file.allocate(2 * SECTOR_BYTES)
        file.sync()
        file.write(b"x" * 2 * SECTOR_BYTES)
    disk.sync_dir("/")
    found = set()
    for seed in range(200):
        after = cut(disk, Survival("none", "sectors"), seed)
        data = after.read("/a") + after.read("/b")
        sectors = [data[at : at + SECTOR_BYTES] for at in range(0, len(data), SECTOR_BYTES)]
        assert all(sector in (bytes(SECTOR_BYTES), b"x" * SECTOR_BYTES) for sector in sectors)
        found.add(tuple(sector[0] for sector in sectors))
    assert len(found) == 16


def test_stale_sectors_show_an_older_file() -> None:
    disk = made("/old", b"o" * SECTOR_BYTES)
    disk.unlink("/old")
    disk.sync_dir("/")
    file = disk.create("/new")
    file.allocate(SECTOR_BYTES)
    file.sync()
    disk.sync_dir("/")
    file.write(b"n" * SECTOR_BYTES)
    found = {cut(disk, Survival("none", "stale"), seed).read("/new")[:1] for seed in range(40)}
    assert found == {b"o", b"n"}


def test_random_survivals_are_repeatable() -> None:
    disk = made(data=b"z" * 5000, synced=False)
    for survival, seed in itertools.product(SURVIVALS, range(5)):
        assert cut(disk, survival, seed).read("/f") == cut(disk, survival, seed).read("/f")


@pytest.mark.parametrize("when", ["before", "midway", "after"])
def test_a_crash_stops_every_later_call_and_frees_the_locks(when: str) -> None:
    disk = CrashDisk()
    lock = disk.lock("/LOCK")
    file = disk.create("/f")
    disk.crash_at(2, when)  # type: ignore[arg-type]
    with pytest.raises(Crash, match="#2 write /f 4 bytes"):
        file.write(b"abcd")
    for call in (file.sync, lambda: file.pread(1, 0), lambda: disk.create("/g"), lambda: disk.exists("/f")):
        with pytest.raises(Crash):
            call()
    file.close()
    lock.release()
    after = CrashDisk(disk.image())
    assert after.read("/f") == {"before": b"", "midway": b"ab", "after": b"abcd"}[when]
    after.lock("/LOCK").release()


def test_a_crash_is_not_an_exception() -> None:
    assert not issubclass(Crash, Exception)


def test_one_run_yields_an_image_of_every_moment() -> None:
    disk = CrashDisk()
    moments: list[tuple[str, dict[str, bytes]]] = []

    def watch(operation: Operation, image: Image) -> None:
        then = CrashDisk(image)
        moments.append((operation.kind, {path: then.read(path) for path in then.files("/")}))

    disk.on_moment = watch
    file = disk.create("/f")
    file.write(b"abcd")
    file.sync()
    disk.rename("/f", "/g")
    disk.sync_dir("/")
    assert moments == [
        ("create", {}),
        ("write", {"/f": b""}),
        ("write", {"/f": b"ab"}),
        ("sync", {"/f": b"abcd"}),
        ("rename", {"/f": b"abcd"}),
        ("sync_dir", {"/g": b"abcd"}),
    ]


def test_what_a_failed_sync_covered_is_never_written() -> None:
    disk = made(data=b"", named=True)
    file = disk.open_append("/f")
    file.write(b"lost")
    disk.faults.append(Fault("sync", errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.write(b"kept")
    file.sync()
    assert disk.read("/f") == b"lostkept"
    assert cut(disk).read("/f") == bytes(4) + b"kept"
    again = CrashDisk(disk.image()).open_read("/f")
    again.sync()
    assert cut(CrashDisk(disk.image())).read("/f") == bytes(4) + b"kept"


def test_faults_strike_when_and_where_they_are_told() -> None:
    disk = CrashDisk()
    disk.faults.append(Fault("create", errno.EACCES, path_end=".x", after=1, times=2))
    outcomes = []
    for name in ("a.x", "a.y", "b.x", "c.x", "d.x"):
        try:
            disk.create(f"/{name}").close()
            outcomes.append(True)
        except PermissionError:
            outcomes.append(False)
    assert outcomes == [True, True, False, False, True]


def test_a_short_write_takes_some_bytes_and_fails() -> None:
    disk = CrashDisk()
    disk.faults.append(Fault("write", errno.EIO, short_bytes=3))
    file = disk.create("/f")
    with pytest.raises(OSError, match="Input/output error"):
        file.write(b"abcdef")
    assert disk.read("/f") == b"abc"


def test_a_full_disk_refuses_room_and_gives_it_back() -> None:
    disk = CrashDisk(capacity_bytes=100)
    first = disk.create("/a")
    first.allocate(60)
    second = disk.create("/b")
    with pytest.raises(OSError, match="No space left") as caught:
        second.allocate(50)
    assert caught.value.errno == errno.ENOSPC
    assert disk.free_bytes("/") == 40
    first.write(b"x" * 60)
    with pytest.raises(OSError, match="No space left"):
        second.write(b"y" * 50)
    assert second.size() == 40, "what fitted was written"
    disk.unlink("/b")
    assert disk.free_bytes("/") == 0, "an open file keeps its room"
    second.close()
    assert disk.free_bytes("/") == 40


def test_nothing_is_raised_when_handles_die_after_a_crash() -> None:
    disk = CrashDisk()
    file = disk.create("/f")
    disk.crash_at(1)
    with pytest.raises(Crash):
        file.write(b"x")
    del file
    gc.collect()
