"""A leader and its follower digest the same moment while writes go on, and nothing is pinned for longer than needed."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from msgpack import packb, unpackb
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, TINY, open_engine, run_jobs, seeded_bytes

from sherd.common.clock import ManualClock
from sherd.common.errors import BadRequest, Corruption, Overloaded, Unavailable
from sherd.common.topology.layout import Mode
from sherd.common.world import system_world
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import table_name
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.segment_tail import SegmentTail
from sherd.shard.replication import comparisons
from sherd.shard.replication.comparisons import COMPARISONS_MAX, IDLE_SECONDS, KEY_RANGES_MAX, Comparisons
from sherd.shard.replication.follower import Follower
from sherd.shard.replication.messages import LOG, Answer, LeaderState

pytestmark = pytest.mark.core

PIECE_BYTES = 400


class Two:
    """A leader and a follower with their comparisons. ``pull`` is one answer: its marks, and a small piece of log."""

    def __init__(self, options: EngineOptions = TINY) -> None:
        self.disk, self.follower_disk, self.clock = CrashDisk(), CrashDisk(), ManualClock()
        self.world = replace(system_world(), clock=self.clock, random=random.Random(1))
        self.leader = open_engine(self.disk, options, clock=self.clock)
        self.leader.retain(0)
        self.ours = Comparisons(self.leader, self.world)
        self.follower = Engine.open(
            DIRECTORY, options, self.follower_disk, self.clock, random=seeded_bytes(9), follow=True
        )
        self.theirs = Comparisons(self.follower, self.world)
        self.tail = SegmentTail(self.disk, DIRECTORY, 1)
        self.choice = random.Random(3)

    def write(self, count: int) -> None:
        for _ in range(count):
            key = b"key%03d" % self.choice.randrange(60)
            if self.choice.random() < 0.3:
                self.leader.delete(key)
            else:
                expiry_ms = self.leader.now_ms() + self.choice.randrange(1, 3000) if self.choice.random() < 0.3 else 0
                self.leader.put(key, packb(self.choice.randbytes(20)), expiry_ms)
            if self.choice.random() < 0.5:
                self.leader.commit()
            self.clock.advance(0.01)
        self.leader.commit()

    def pull(self, bytes_max: int = PIECE_BYTES) -> None:
        self.theirs.heed(self.ours.marks)
        if self.follower.last_lsn == self.leader.written_lsn:
            return
        piece = self.tail.read(self.leader.log_segments, self.leader.written_lsn, bytes_max)
        assert piece is not None
        for header, body in piece.records():
            if header.last_lsn > self.follower.last_lsn:
                self.follower.apply(header, body)
                self.theirs.reach()
        self.follower.commit()

    def catch_up(self, bytes_max: int = PIECE_BYTES) -> None:
        while self.follower.last_lsn < self.leader.written_lsn:
            self.pull(bytes_max)

    def close(self) -> None:
        self.tail.close()
        for side in (self.ours, self.theirs):
            side.close()
        for engine in (self.leader, self.follower):
            engine.close(clean=False)


def rows_of(side: Comparisons, begun: list[Any], mode: Mode = "hash") -> Any:
    number, _, time_ms, starts = begun
    while True:
        answer = side.digest(number, time_ms, mode, starts)
        assert answer is not None
        if answer[1] is not None:
            return answer[1]


@pytest.mark.parametrize("mode", ["hash", "range"])
def test_both_digest_the_same_moment_while_writes_and_background_work_go_on(mode: Mode) -> None:
    two = Two()
    for _ in range(12):
        two.write(two.choice.randrange(1, 60))
        for _ in range(two.choice.randrange(4)):
            two.pull()
        begun = two.ours.begin(mode)
        assert begun[1] == two.leader.last_lsn
        behind = two.follower.last_lsn < begun[1]
        assert two.theirs.digest(*begun[:1], begun[2], mode, begun[3]) is None  # not told yet
        two.write(two.choice.randrange(1, 40))
        two.pull()
        if behind and two.follower.last_lsn < begun[1]:
            assert two.theirs.digest(begun[0], begun[2], mode, begun[3]) is None  # told, and not there yet
        two.catch_up()
        two.clock.advance(1.5)
        two.write(3)
        two.catch_up()
        for engine, disk in ((two.leader, two.disk), (two.follower, two.follower_disk)):
            if two.choice.random() < 0.5:
                engine.request_compact() if engine is two.leader else engine.request_flush()
            run_jobs(engine, disk)
        ours = rows_of(two.ours, begun, mode)
        assert ours == rows_of(two.theirs, begun, mode)
        assert sum(count for count, _ in ours) > 0
        two.ours.end(begun[0])
        two.pull()
        assert two.theirs.digest(begun[0], begun[2], mode, begun[3]) is None  # forgotten
    two.close()


def test_a_mark_that_comes_with_the_records_around_it_is_not_missed() -> None:
    two = Two()
    two.write(10)
    begun = two.ours.begin("hash")
    two.write(30)
    piece = two.tail.read(two.leader.log_segments, two.leader.written_lsn, 1 << 20)
    assert piece is not None
    assert piece.first_lsn < begun[1] < piece.last_lsn
    leader = LeaderState(two.leader.term, two.leader.last_lsn, two.leader.now_ms(), 0, two.ours.marks)
    follower = Follower(two.follower, "2", 1, lambda: "unix:/nowhere", two.follower.commit, two.world)
    answer = Answer.decode(unpackb(packb(Answer(LOG, leader, piece).encode())))
    asyncio.run(follower._take(answer, 0.0))
    assert two.follower.last_lsn == piece.last_lsn
    assert rows_of(follower.comparisons, begun) == rows_of(two.ours, begun)
    follower.comparisons.close()
    two.close()


def test_a_large_memtable_is_rolled_for_a_comparison_on_both_sides() -> None:
    options = EngineOptions(memtable_bytes=8 << 20)
    two = Two(options)
    for number in range(12_000):
        two.leader.put(b"%06d" % number, b"\x01")
        if number % 100 == 0:
            two.leader.commit()
    two.leader.commit()
    two.catch_up(1 << 20)
    begun = two.ours.begin("hash")
    two.pull()
    two.leader.put(b"000000", b"\x02")
    two.leader.commit()
    two.catch_up()
    assert (two.leader.frozen_memtables, two.follower.frozen_memtables) == (1, 1)
    ours = rows_of(two.ours, begun)
    assert sum(count for count, _ in ours) == 12_000
    assert ours == rows_of(two.theirs, begun)
    two.close()


def test_what_differs_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "STEP_ENTRIES_MAX", 7)
    two = Two()
    two.write(60)
    two.catch_up()
    two.follower.lead(9)
    two.follower.put(b"key001", b"\x01")  # what no leader ever wrote; the mark is met a little later all the same
    two.follower.commit()
    begun = two.ours.begin("range")
    two.theirs.heed([(begun[0], two.follower.last_lsn)])
    assert rows_of(two.ours, begun, "range") != rows_of(two.theirs, begun, "range")
    two.close()


def test_who_is_past_the_mark_says_so() -> None:
    two = Two()
    two.write(20)
    begun = two.ours.begin("hash")
    two.write(20)
    marks, two.ours._found = two.ours._found, {}
    two.catch_up()  # as one who came by the tables of a copy: nobody told it of the mark
    two.ours._found = marks
    two.pull()
    with pytest.raises(Unavailable, match="begins behind"):
        two.theirs.digest(begun[0], begun[2], "hash", begun[3])
    two.close()


def test_a_snapshot_is_let_go_as_soon_as_it_is_digested() -> None:
    two = Two()
    for _ in range(2):
        two.write(100)
        two.leader.request_flush()
        run_jobs(two.leader, two.disk)
    begun = two.ours.begin("hash")
    pinned = {table.number for level in two.leader.installer.version.metas() for table in level}
    two.leader.request_compact()
    run_jobs(two.leader, two.disk)
    assert all(two.disk.exists(f"{DIRECTORY}/{table_name(number)}") for number in pinned)
    rows = rows_of(two.ours, begun)
    run_jobs(two.leader, two.disk)
    left = {table.number for level in two.leader.installer.version.metas() for table in level}
    assert pinned - left
    assert not any(two.disk.exists(f"{DIRECTORY}/{table_name(number)}") for number in pinned - left)
    assert rows_of(two.ours, begun) == rows  # it is still known
    assert two.ours.marks == [(begun[0], begun[1])]
    two.close()


def test_a_comparison_that_nobody_asks_about_is_given_up_and_there_are_not_many() -> None:
    two = Two()
    begun = [two.ours.begin("hash") for _ in range(COMPARISONS_MAX)]
    with pytest.raises(Overloaded):
        two.ours.begin("hash")
    two.catch_up()
    two.pull()
    two.clock.advance(IDLE_SECONDS - 1)
    two.ours.digest(begun[0][0], begun[0][2], "hash", begun[0][3])
    two.clock.advance(2)
    two.ours.tick()
    assert two.ours.marks == [(begun[0][0], begun[0][1])]
    two.pull()
    assert two.theirs.marks == two.ours.marks
    two.ours.end(begun[0][0])
    two.ours.end(begun[0][0])
    two.theirs.tick()
    assert two.theirs.marks == []
    two.close()


def test_ranges_of_keys_start_where_tables_do_and_are_not_many() -> None:
    disk = CrashDisk()
    options = EngineOptions(memtable_bytes=1 << 20, table_bytes=4 << 10, block_bytes=512)
    engine = open_engine(disk, options)
    side = Comparisons(engine, system_world())
    assert side.begin("range")[3] == [b""]
    for _ in range(2):
        for number in range(1500):
            engine.put(b"%04d" % number + bytes(400), bytes(300))
        engine.request_flush()
        run_jobs(engine, disk, options)
    engine.request_compact()
    run_jobs(engine, disk, options)
    starts = side.begin("range")[3]
    assert KEY_RANGES_MAX // 2 <= len(starts) <= KEY_RANGES_MAX + 1
    assert starts == sorted(set(starts))
    assert max(map(len, starts)) <= 256
    side.close()
    engine.close()


def test_malformed_ranges_are_refused() -> None:
    two = Two()
    number, _, time_ms, _ = two.ours.begin("range")
    for starts in ([], [b"a"], [b"", b"b", b"a"]):
        with pytest.raises(BadRequest):
            two.ours.digest(number, time_ms, "range", starts)
    two.close()


def test_damage_is_told_and_noted() -> None:
    two = Two()
    two.write(100)
    two.catch_up()
    two.follower.request_flush()
    run_jobs(two.follower, two.follower_disk)
    (table, *_) = [table for level in two.follower.installer.version.metas() for table in level]
    two.follower.close()
    path = f"{DIRECTORY}/{table_name(table.number)}"
    image = two.follower_disk.image()
    data = bytearray(two.follower_disk.open_read(path).pread(table.bytes, 0))
    data[table.bytes // 3] ^= 16
    disk = CrashDisk(image)
    disk.unlink(path)
    file = disk.create(path)
    file.write(bytes(data))
    file.close()
    two.follower = Engine.open(DIRECTORY, TINY, disk, two.clock, random=seeded_bytes(9), follow=True)
    two.theirs = Comparisons(two.follower, two.world)
    begun = two.ours.begin("hash")
    two.theirs.heed(two.ours.marks)
    assert two.follower.damaged == 0
    with pytest.raises(Corruption):
        rows_of(two.theirs, begun)
    assert two.follower.damaged == 1
    with pytest.raises(Unavailable):
        rows_of(two.theirs, begun)
    two.close()
