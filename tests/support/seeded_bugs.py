"""Bugs put into the engine and the shard around it on purpose, each with the tests that must catch it.

A pytest plugin: ``SHERD_INTERPRETED=1 SHERD_SEEDED_BUG=<name> PYTHONPATH=tests pytest -p support.seeded_bugs <tests>``
runs those tests against the broken engine. Patching needs the interpreted build.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest

from sherd.common.errors import StoreFull
from sherd.shard.lsm import (
    block_frame,
    compaction,
    installer,
    jobs,
    merge,
    opening,
    record,
    recovery,
    segment_scan,
    shard_time,
    table,
    upkeep,
    wal,
)
from sherd.shard.lsm.format import RECORD_CHECKED_BYTES, table_name
from sherd.shard.lsm.manifest import write_manifest
from sherd.shard.lsm.segment import install_segment
from sherd.shard.lsm.steps import run_steps
from sherd.shard.replication.follower import Follower
from sherd.shard.replies import ReplyGate
from sherd.shard.service import ShardService

Patch = pytest.MonkeyPatch

CRASH = "test_crash_points.py::test_group_commits_crashed_at_every_io_point"
NESTED = "test_crash_points.py::test_the_recovery_crashed_at_every_io_point"
FLIP = "test_flip.py::test_a_flipped_byte_never_gives_a_wrong_answer"
MODEL = "test_model_engine.py::TestEngineAgainstADict"
CHURN = "test_metamorphic.py"
FSYNC = "test_fsync_failure.py"
CLOCK = "test_clock_jumps.py"
FULL = "test_disk_full.py"
REPLIES = "../shard/test_replies.py"
STALE_READS = "../shard/test_stale_reads.py"
FOLLOWER = "../shard/test_follower.py"
FOLLOWING = "../lsm/test_following.py"


@dataclass(frozen=True, slots=True)
class SeededBug:
    """``seed`` breaks the engine; each of ``caught_by`` (below tests/faults) must then fail."""

    seed: Callable[[Patch], None]
    caught_by: tuple[str, ...]


class Careless:
    """A disk that leaves out the operations named in ``omitted``."""

    def __init__(self, disk: Any, *omitted: str) -> None:
        self._disk = disk
        self._omitted = omitted

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: None) if name in self._omitted else getattr(self._disk, name)

    def create(self, path: str) -> Any:
        return Careless(self._disk.create(path), *self._omitted)


def acknowledge_before_fsync(patch: Patch) -> None:
    patch.setattr(wal.SyncTicket, "run", lambda self: None)


def name_a_segment_without_directory_fsync(patch: Patch) -> None:
    patch.setattr(
        wal,
        "install_segment",
        lambda disk, *arguments: install_segment(Careless(disk, "sync_dir"), *arguments),  # type: ignore[arg-type]
    )


def replace_the_manifest_without_directory_fsync(patch: Patch) -> None:
    def careless(disk: Any, *arguments: Any) -> None:
        write_manifest(Careless(disk, "sync_dir"), *arguments)  # type: ignore[arg-type]

    patch.setattr(installer, "write_manifest", careless)
    patch.setattr(opening, "write_manifest", careless)


def rename_the_manifest_before_its_fsync(patch: Patch) -> None:
    def careless(disk: Any, *arguments: Any) -> None:
        write_manifest(Careless(disk, "sync"), *arguments)  # type: ignore[arg-type]

    patch.setattr(installer, "write_manifest", careless)


def install_tables_that_were_not_synced(patch: Patch) -> None:
    init = jobs._Outputs.__init__

    def careless(self: Any, job: Any, directory: str, disk: Any, options: Any) -> None:
        init(self, job, directory, Careless(disk, "sync"), options)  # type: ignore[arg-type]

    patch.setattr(jobs._Outputs, "__init__", careless)


def unlink_inputs_before_the_manifest(patch: Patch) -> None:
    replacing_tables = installer.Installer.replacing_tables

    def hasty(self: Any, removed: Iterable[int], added: Any, **changes: Any) -> Any:
        gone = set(removed)
        self.discard(table_name(number) for number in gone - {meta.number for meta in added})
        yield from replacing_tables(self, gone, added, **changes)

    patch.setattr(installer.Installer, "replacing_tables", hasty)


def drop_the_log_before_the_manifest(patch: Patch) -> None:
    flushed = upkeep.Upkeep._flushed

    def hasty(self: Any, *arguments: Any) -> Any:
        self._installer.drop_segments(self.waiting[0].segments)
        yield from flushed(self, *arguments)

    patch.setattr(upkeep.Upkeep, "_flushed", hasty)


def retry_a_failed_fsync(patch: Patch) -> None:
    def stubborn(self: Any) -> None:
        for segment in self.segments:
            try:
                segment.sync()
            except OSError:
                segment.sync()

    patch.setattr(wal.SyncTicket, "run", stubborn)


def trust_an_fsync_after_a_failed_one(patch: Patch) -> None:
    def sync_segment(self: Any, number: int) -> None:
        with contextlib.closing(self._disk.open_append(self._path(number))) as file:
            file.sync()

    patch.setattr(wal, "mark_fsync_failed", lambda disk, path: None)
    patch.setattr(recovery.Recovery, "_sync_segment", sync_segment)


def go_on_after_a_failed_write(patch: Patch) -> None:
    append = wal.Wal.append

    def shrug(self: Any, *arguments: Any) -> None:
        try:
            append(self, *arguments)
        except OSError:
            self._writer._failed = False

    patch.setattr(wal.Wal, "append", shrug)


def ignore_the_checksum_of_blocks(patch: Patch) -> None:
    patch.setattr(block_frame, "xxh3_64_intdigest", AnyNumber)


class AnyNumber:
    """Equal to every number."""

    def __init__(self, *_: object) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def ignore_the_checksum_of_record_bodies(patch: Patch) -> None:
    verify = segment_scan._checksum

    def trusting(data: bytes, pos: int, size: int, seed: int) -> Any:
        return verify(data, pos, size, seed) if size == RECORD_CHECKED_BYTES else AnyNumber()

    patch.setattr(segment_scan, "_checksum", trusting)


def ignore_what_later_headers_cover(patch: Patch) -> None:
    patch.setattr(recovery.Verdict, "covered", property(lambda self: False))
    patch.setattr(recovery.SegmentReader, "covers", lambda self, lsn: False)


def cut_without_saving(patch: Patch) -> None:
    patch.setattr(recovery, "save_tail", lambda *_: "")


def drop_tombstones_too_early(patch: Patch) -> None:
    patch.setattr(compaction.Survivors, "_may_be_older", lambda self, key: False)


def let_the_older_entry_win(patch: Patch) -> None:
    def before(self: Any, a: Any, b: Any) -> bool:
        if a.key == b.key:
            return bool(a.lsn < b.lsn)
        return bool(a.key < b.key) == self._forward

    patch.setattr(merge.MergeCursor, "_before", before)


def give_versions_twice(patch: Patch) -> None:
    patch.setattr(opening, "TERM_LSN_STEP", 1)


def serve_before_the_replayed_log_is_durable(patch: Patch) -> None:
    patch.setattr(recovery.Recovery, "_make_durable", lambda self: None)


def leave_orphans(patch: Patch) -> None:
    patch.setattr(installer.Installer, "discard", lambda self, names: list(names))


def tear_batches(patch: Patch) -> None:
    patch.setattr(record.RecordBuilder, "begin_group", lambda self: None)
    patch.setattr(record.RecordBuilder, "end_group", lambda self: None)
    patch.setattr(record, "RECORD_SPLIT_BYTES", 64)


def believe_the_wall_clock(patch: Patch) -> None:
    patch.setattr(shard_time.ShardTime, "now_ms", lambda self: self._clock.now_ms())


def stage_before_there_is_room(patch: Patch) -> None:
    prepare = wal.Wal.prepare

    def late(self: Any, capacity: int) -> None:
        try:
            prepare(self, capacity)
        except StoreFull as error:
            raise OSError(28, "No space left on device") from error

    patch.setattr(wal.Wal, "prepare", late)


def salt_every_segment_alike(patch: Patch) -> None:
    patch.setattr(wal.Wal, "salt_bits", lambda self: 0)


def deny_keys_by_a_wrong_filter(patch: Patch) -> None:
    patch.setattr(table, "may_contain", lambda data, key_hash: key_hash % 7 != 0)


def count_a_followers_age_from_the_answer(patch: Patch) -> None:
    take = Follower._take
    patch.setattr(Follower, "_take", lambda self, answer, asked_at: take(self, answer, self._monotonic()))


def execute_with_too_few_in_sync(patch: Patch) -> None:
    patch.setattr(ReplyGate, "admit", lambda self, in_sync: 0)


def acknowledge_by_fewer_than_were_to_be(patch: Patch) -> None:
    replicated = ReplyGate.replicated

    def by_whoever_is_left(self: Any, lsn: int | None, in_sync_count: int = 1) -> bool:
        return replicated(self, lsn, max(in_sync_count, self.in_sync_min))

    patch.setattr(ReplyGate, "replicated", by_whoever_is_left)


def take_what_is_in_tables_for_copied(patch: Patch) -> None:
    patch.setattr(ShardService, "rests_on", lambda self, seen_lsn, in_sync: seen_lsn)


def write_a_manifest_over_another(patch: Patch) -> None:
    patch.setattr(installer.Installer, "write", lambda self, **changes: run_steps(self.writing(**changes)))


BUGS: dict[str, SeededBug] = {
    seed.__name__: SeededBug(seed, caught_by)
    for seed, caught_by in (
        (acknowledge_before_fsync, (CRASH,)),
        (name_a_segment_without_directory_fsync, (CRASH,)),
        (replace_the_manifest_without_directory_fsync, (CRASH,)),
        (rename_the_manifest_before_its_fsync, (CRASH,)),
        (install_tables_that_were_not_synced, (CRASH,)),
        (unlink_inputs_before_the_manifest, (CRASH,)),
        (drop_the_log_before_the_manifest, (CRASH,)),
        (retry_a_failed_fsync, (FSYNC,)),
        (trust_an_fsync_after_a_failed_one, (FSYNC,)),
        (go_on_after_a_failed_write, (FSYNC,)),
        (ignore_the_checksum_of_blocks, (FLIP,)),
        (ignore_the_checksum_of_record_bodies, (FLIP,)),
        (ignore_what_later_headers_cover, (FLIP,)),
        (cut_without_saving, (FLIP,)),
        (drop_tombstones_too_early, (CHURN,)),
        (let_the_older_entry_win, (MODEL, CHURN)),
        (deny_keys_by_a_wrong_filter, (MODEL,)),
        (give_versions_twice, (CRASH,)),
        (serve_before_the_replayed_log_is_durable, (CRASH,)),
        (leave_orphans, (CRASH,)),
        (tear_batches, (CRASH,)),
        (believe_the_wall_clock, (CLOCK,)),
        (stage_before_there_is_room, (FULL,)),
        (salt_every_segment_alike, ("test_old_records.py",)),
        (count_a_followers_age_from_the_answer, (FOLLOWER,)),
        (execute_with_too_few_in_sync, (REPLIES, STALE_READS)),
        (acknowledge_by_fewer_than_were_to_be, (REPLIES,)),
        (take_what_is_in_tables_for_copied, (STALE_READS,)),
        (write_a_manifest_over_another, (FOLLOWING,)),
    )
}


def pytest_configure(config: pytest.Config) -> None:
    name = os.environ.get("SHERD_SEEDED_BUG", "")
    if name:
        BUGS[name].seed(pytest.MonkeyPatch())
        # That an example fails is all that is asked; making it small would take minutes.
        quick = hypothesis.settings(phases=[hypothesis.Phase.generate], derandomize=True, deadline=None, database=None)
        hypothesis.settings.register_profile("seeded bug", quick)
        hypothesis.settings.load_profile("seeded bug")
