"""Damage every byte of every file of a small store in turn: it answers rightly, refuses, or says what it cut.

Never a silent wrong answer: what a flip may cost is the last groups, those that no later ``synced`` covers, and then
they lie in quarantine and are counted. The suite takes one bit of each byte, and a sample of the zeros of a
preallocated segment; the soak takes them all, with more bit patterns.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest
from support.crash_disk import CrashDisk
from support.disk_image import Image
from support.engine_run import COMPILED, DIRECTORY, TINY, contents, open_engine, run_jobs, stage, sync
from support.history import Contents, History
from support.workload import KEYS, value_of

from sherd.common.errors import Corruption, StoreCorrupt, StoreFormat
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.job_types import CompactJob
from sherd.shard.lsm.jobs import run_job

pytestmark = pytest.mark.core

T = TypeVar("T")
STRIDE = 1 if COMPILED else 7
OPTIONS = replace(TINY, compression="none")


@dataclass(frozen=True, slots=True)
class Built:
    """A small store: its disk, what was written, and the groups no damage may take."""

    image: Image
    history: History
    covered: int


def write(engine: Engine, history: History, number: int, *, synced: bool) -> None:
    """One group, a put or a batch with a delete in it."""
    key = KEYS[number % len(KEYS)]
    changes = [(key, value_of(number, 20))]
    if number % 5 == 4:
        changes += [(KEYS[(number + 3) % len(KEYS)], None), (KEYS[(number + 7) % len(KEYS)], value_of(number, 9))]
    group = history.begin(changes)
    group.versions, group.last_lsn = stage(engine, changes)
    engine.commit()
    history.answer()
    if synced:
        sync(engine)


def build(*, clean: bool, unsynced: int = 3) -> Built:
    """Tables in two levels, and a log whose last ``unsynced`` groups no header covers."""
    disk, history = CrashDisk(), History()
    engine = open_engine(disk, OPTIONS)
    for number in range(30):
        write(engine, history, number, synced=True)
        if number in (9, 19, 26):
            engine.request_flush()
            run_jobs(engine, disk, OPTIONS)
    engine.request_compact()
    run_jobs(engine, disk, OPTIONS)
    for number in range(30, 36):
        write(engine, history, number, synced=True)
    engine.request_flush()
    run_jobs(engine, disk, OPTIONS)
    for number in range(36, 42 + unsynced):
        write(engine, history, number, synced=number < 42)
    covered = history.covered(engine.synced_lsn)
    if clean:
        engine.close(True)
        covered = history.answered
    return Built(disk.image(), history, covered)


def attempt(call: Callable[[], T], *errors: type[Exception]) -> tuple[T | None, str]:
    """What ``call`` returns, or None and the words of the error."""
    try:
        return call(), ""
    except errors as error:
        return None, str(error)


def check_gets(engine: Engine, states: list[Contents]) -> None:
    """Where a scan is refused, each get still gives what one lawful state holds, or is refused too."""
    refused = 0
    possible = list(states)
    for key in KEYS:
        try:
            entry = engine.get(key)
        except Corruption:
            refused += 1
            continue
        found = None if entry is None else (entry.value, entry.lsn)
        possible = [state for state in possible if state.get(key) == found]
        assert possible, key
    assert refused, "a scan was refused but every get succeeded"


def outcome(built: Built, path: str, data: bytes, where: str) -> str:
    """Open and read everything with ``path`` replaced: ``refused``, ``corruption``, ``cut`` or ``right``."""
    disk = CrashDisk(built.image.copy())
    disk.replace(path, data)
    engine, refusal = attempt(lambda: open_engine(disk, OPTIONS, seed=1), StoreCorrupt, StoreFormat)
    if engine is None:
        assert os.path.basename(path) in refusal or "MANIFEST" in refusal, f"{where}: {refusal}"
        return "refused"
    states = built.history.states()
    found, refusal = attempt(lambda: contents(engine), Corruption)
    if found is None:
        assert os.path.basename(path) in refusal, f"{where}: {refusal}"
        check_gets(engine, states[built.covered :])
        return "corruption"
    count = built.history.check(found, built.covered, len(states) - 1, where)
    if count == len(states) - 1:
        return "right"
    assert path.endswith(".wal"), where
    assert engine.status()["quarantined"], f"{where}: {len(states) - 1 - count} groups were cut without a word"
    assert any(name.startswith(f"{DIRECTORY}/quarantine/") for name in disk.files(DIRECTORY)), where
    return "cut"


def positions(data: bytes) -> list[int]:
    """Every byte, but of the zeros at the end of a preallocated file only some."""
    used = len(data.rstrip(b"\0"))
    return [*range(min(used + 64, len(data))), *range(used + 64, len(data), 509)][::STRIDE]


def flip_everything(built: Built, masks: Callable[[int], tuple[int, ...]], every_zero: bool) -> dict[str, set[str]]:
    """Flip byte after byte; what came of it, by the ends of the files' names."""
    seen: dict[str, set[str]] = {}
    disk = CrashDisk(built.image.copy())
    for path in disk.files(DIRECTORY):
        data = disk.read(path)
        outcomes = seen.setdefault(path[-4:], set())
        for position in range(len(data)) if every_zero else positions(data):
            for mask in masks(position):
                flipped = bytearray(data)
                flipped[position] ^= mask
                where = f"{path} byte {position} of {len(data)} xor {mask:#x}"
                outcomes.add(outcome(built, path, bytes(flipped), where))
    return seen


def check_seen(seen: dict[str, set[str]], clean: bool) -> None:
    """Every kind of file met the outcomes that it must, and none that it must not."""
    assert seen["FEST"] == {"refused"}
    assert "corruption" in seen[".sst"]
    assert "cut" not in seen[".sst"]
    assert "refused" in seen[".wal"]
    assert ("cut" in seen[".wal"]) == (not clean)


@pytest.mark.parametrize("clean", [False, True], ids=["after-a-kill", "after-a-clean-close"])
def test_a_flipped_byte_never_gives_a_wrong_answer(clean: bool) -> None:  # FAULTS 2, 3, 13
    check_seen(flip_everything(build(clean=clean), lambda position: (1 << position % 8,), False), clean)


@pytest.mark.soak
@pytest.mark.parametrize("clean", [False, True], ids=["after-a-kill", "after-a-clean-close"])
def test_many_patterns_in_every_byte_never_give_a_wrong_answer(clean: bool) -> None:  # FAULTS 2, 3, 13
    check_seen(flip_everything(build(clean=clean), lambda _: (1, 0x10, 0x80, 0xFF), True), clean)


def test_a_flip_in_the_log_is_refused_once_a_later_header_covers_it() -> None:  # FAULTS 2
    built = build(clean=False, unsynced=0)
    disk = CrashDisk(built.image.copy())
    path = max(path for path in disk.files(DIRECTORY) if path.endswith(".wal") and disk.read(path).rstrip(b"\0"))
    data = disk.read(path)
    used = len(data.rstrip(b"\0"))
    middle = used // 2
    flipped = bytearray(data)
    flipped[middle] ^= 0x10
    assert outcome(built, path, bytes(flipped), "the middle of the log") == "refused"


def test_an_idle_record_closes_the_window_of_the_last_group() -> None:  # FAULTS 3
    disk, history = CrashDisk(), History()
    engine = open_engine(disk, OPTIONS)
    for number in range(5):
        write(engine, history, number, synced=True)
    mark = value_of(4, 20)

    def flip_last_group() -> str:
        built = Built(disk.image(), history, history.covered(engine.synced_lsn))
        path = next(path for path in disk.files(DIRECTORY) if mark in disk.read(path))
        data = bytearray(disk.read(path))
        data[data.rindex(mark)] ^= 0x04
        return outcome(built, path, bytes(data), "the last group")

    with pytest.raises(AssertionError, match="4 groups came back, at least 5"):
        flip_last_group()
    engine.append_empty()
    assert flip_last_group() == "refused"


@pytest.mark.parametrize("suffix", [".sst", ".wal", "MANIFEST"])
def test_a_missing_file_is_refused(suffix: str) -> None:  # FAULTS 14
    built = build(clean=False)
    files = [path for path in CrashDisk(built.image.copy()).files(DIRECTORY) if path.endswith(suffix)]
    refused = 0
    for path in files:
        disk = CrashDisk(built.image.copy())
        data = disk.read(path)
        disk.unlink(path)
        engine, refusal = attempt(lambda disk=disk: open_engine(disk, OPTIONS, seed=1), StoreCorrupt)
        if engine is None:
            assert os.path.basename(path) in refusal, path
            refused += 1
            continue
        assert path.endswith(".wal"), f"{path} was not missed"
        assert len(data.rstrip(b"\0")) <= 64, f"{path} was not missed"
        built.history.check(contents(engine), built.covered, built.history.answered, f"without {path}")
    assert refused


@pytest.mark.parametrize("keep", ["nothing", "half", "all but a byte"])
def test_a_truncated_table_is_refused(keep: str) -> None:  # FAULTS 14
    built = build(clean=False)
    for path in CrashDisk(built.image.copy()).files(DIRECTORY):
        if path.endswith(".sst"):
            disk = CrashDisk(built.image.copy())
            data = disk.read(path)
            disk.replace(path, data[: {"nothing": 0, "half": len(data) // 2, "all but a byte": len(data) - 1}[keep]])
            with pytest.raises(StoreCorrupt, match=os.path.basename(path)):
                open_engine(disk, OPTIONS, seed=1)


def test_tables_that_changed_places_are_not_believed() -> None:  # FAULTS 13
    disk = CrashDisk()
    engine = open_engine(disk, OPTIONS)
    for number in range(2):
        for key in KEYS[:5]:
            engine.put(key, value_of(number, 20))
        engine.commit()
        engine.request_flush()
        while (job := engine.next_job()) is not None and not isinstance(job, CompactJob):
            engine.install(job, run_job(job, DIRECTORY, disk, OPTIONS, lambda: None))
    first, second = (path for path in disk.files(DIRECTORY) if path.endswith(".sst"))
    after = CrashDisk(disk.image())
    after.replace(first, disk.read(second))
    after.replace(second, disk.read(first))
    assert len(disk.read(first)) == len(disk.read(second)), "the swap is to be seen by more than the size"
    engine = open_engine(after, OPTIONS, seed=1)
    with pytest.raises(Corruption, match=r"\.sst"):
        engine.get(KEYS[0])
    with pytest.raises(Corruption, match=r"\.sst"):
        contents(engine)


def test_compaction_refuses_to_launder_rot() -> None:  # FAULTS 13
    built = build(clean=False)
    disk = CrashDisk(built.image.copy())
    path = next(path for path in disk.files(DIRECTORY) if path.endswith(".sst"))
    data = bytearray(disk.read(path))
    data[40] ^= 0x20  # in the first block
    disk.replace(path, bytes(data))
    tables = [path for path in disk.files(DIRECTORY) if path.endswith(".sst")]
    engine = open_engine(disk, OPTIONS, seed=1)
    engine.request_compact()
    refusal = ""
    while not refusal and (job := engine.next_job()) is not None:
        result, refusal = attempt(lambda job=job: run_job(job, DIRECTORY, disk, OPTIONS, lambda: None), Corruption)
        if result is None:
            engine.job_failed(job, Corruption(refusal))
        else:
            engine.install(job, result)
    assert os.path.basename(path) in refusal, "a compaction over a damaged block succeeded"
    assert set(tables) <= set(disk.files(DIRECTORY)), "the inputs of a failed compaction stay"
    check_gets(engine, built.history.states()[built.covered :])
