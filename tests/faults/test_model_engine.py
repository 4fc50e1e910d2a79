"""Random operations against a sorted dict, with flushes, compactions, restarts, kills and power cuts in between."""

from dataclasses import dataclass, replace

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.crash_disk import CrashDisk
from support.engine_run import TINY, open_engine, orphans, rows_of, run_jobs, scan, sync
from support.survival import SURVIVALS
from support.workload import value_of

from sherd.common.clock import ManualClock
from sherd.common.errors import Conflict
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.pressure import FROZEN_MEMTABLES_MAX
from sherd.shard.lsm.scan import PageRequest
from sherd.shard.lsm.snapshot import Snapshot

pytestmark = pytest.mark.core

OPTIONS = (
    TINY,
    replace(TINY, compression="none", bloom_bits_per_key=0, cache_bytes=0),
    replace(TINY, compression="zstd:1", level0_tables_compact=1, open_files_max=4),
    EngineOptions(memtable_bytes=1 << 20, cache_bytes=1 << 20),
)

key_strategy = st.one_of(
    st.sampled_from([b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff", b"k" * 300]),
    st.binary(min_size=1, max_size=3),
)
maybe_key = st.none() | key_strategy
sizes = st.sampled_from([1, 10, 200, 3000])
page_sizes = st.sampled_from([1, 30, 5000])
conditions = st.sampled_from(["none", "right", "wrong", "zero"])
ttl_strategy = st.sampled_from([0, 0, 0, 1, 500, 60_000])


@dataclass(frozen=True, slots=True)
class Kept:
    """What the model holds for one key. ``expiry_ms`` 0: never."""

    value: bytes
    version: int
    expiry_ms: int


Model = dict[bytes, Kept]


class EngineMachine(RuleBasedStateMachine):
    """One engine on a disk that forgets, beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.disk = CrashDisk()
        self.model: Model = {}
        self.unsynced: list[Model] = [{}]  # the states a power cut may leave, oldest first; the last one is now
        self.snapshot: Snapshot | None = None
        self.shown: list[tuple[bytes, bytes, int]] = []
        self.number = 0
        self.starts = 0
        self.highest = 0

    @initialize(options=st.sampled_from(OPTIONS))
    def start(self, options: EngineOptions) -> None:
        self.options = options
        self.open()

    def open(self) -> None:
        self.snapshot = None
        self.starts += 1
        self.engine: Engine = open_engine(self.disk, self.options, clock=self.clock, seed=self.starts)
        self.make_room()

    def live(self, key: bytes) -> Kept | None:
        kept = self.model.get(key)
        if kept is None or (kept.expiry_ms and kept.expiry_ms <= self.clock.wall_ms):
            return None
        return kept

    def rows(self) -> list[tuple[bytes, Kept]]:
        return [(key, kept) for key in sorted(self.model) if (kept := self.live(key)) is not None]

    def new_value(self, size: int) -> bytes:
        self.number += 1
        return value_of(self.number, size)

    def took(self, version: int) -> int:
        assert version > self.highest, "versions only grow"
        self.highest = version
        return version

    def done(self) -> None:
        """A call was answered: its record is written, and due work may be done."""
        self.engine.commit()
        self.highest = max(self.highest, self.engine.last_lsn)
        self.unsynced.append(dict(self.model))
        self.make_room()

    def make_room(self) -> None:
        """Do background work before so much waits for it that writes are refused."""
        if self.engine.frozen_memtables >= FROZEN_MEMTABLES_MAX:
            run_jobs(self.engine, self.disk, self.options)

    def version_for(self, key: bytes, condition: str) -> int:
        """An ``if_version`` that is absent, holds, or does not."""
        live = self.live(key)
        present = live.version if live is not None else 0
        return {"none": -1, "right": present, "wrong": present + 1, "zero": 0}[condition]

    def holds(self, key: bytes, if_version: int) -> bool:
        live = self.live(key)
        return if_version in (-1, live.version if live is not None else 0)

    @rule(
        key=key_strategy, size=sizes, ttl_ms=ttl_strategy, condition=st.sampled_from(["none", "right", "wrong", "zero"])
    )
    def put(self, key: bytes, size: int, ttl_ms: int, condition: str) -> None:
        value = self.new_value(size)
        expiry_ms = self.clock.wall_ms + ttl_ms if ttl_ms else 0
        if_version = self.version_for(key, condition)
        if not self.holds(key, if_version):
            with pytest.raises(Conflict) as caught:
                self.engine.put(key, value, expiry_ms, if_version)
            live = self.live(key)
            assert caught.value.version == (live.version if live is not None else 0)
            assert not self.engine.staged
            return
        version = self.took(self.engine.put(key, value, expiry_ms, if_version))
        self.model[key] = Kept(value, version, expiry_ms)
        self.done()

    @rule(key=key_strategy, condition=conditions)
    def delete(self, key: bytes, condition: str) -> None:
        if_version = self.version_for(key, condition)
        live = self.live(key)
        if not self.holds(key, if_version):
            with pytest.raises(Conflict):
                self.engine.delete(key, if_version)
            return
        old = self.engine.delete(key, if_version)
        assert (old is None) == (live is None)
        if old is not None and live is not None:
            assert (old.value, old.lsn) == (live.value, live.version)
        self.model.pop(key, None)
        self.done()

    @rule(
        operations=st.lists(
            st.tuples(st.booleans(), key_strategy, sizes, st.sampled_from(["none", "none", "right", "wrong"])),
            min_size=1,
            max_size=8,
        )
    )
    def batch(self, operations: list[tuple[bool, bytes, int, str]]) -> None:
        calls: list[tuple[int, bytes, bytes | None, int, int]] = []
        fails = False
        for is_put, key, size, condition in operations:
            # Within a batch the versions to come are not known, so a condition on a key written before it is 0 or -1.
            touched = key in (call[1] for call in calls)
            if_version = -1 if touched else self.version_for(key, condition)
            fails = fails or not self.holds(key, if_version)
            value = self.new_value(size) if is_put else None
            calls.append((KIND_PUT if is_put else KIND_DELETE, key, value, 0, if_version))
        if fails:
            with pytest.raises(Conflict):
                self.engine.batch(calls)
            assert not self.engine.staged
            return
        answers = self.engine.batch(calls)
        for (kind, key, value, _, _), answer in zip(calls, answers, strict=True):
            if kind == KIND_DELETE:
                assert answer is (self.live(key) is not None)
                self.model.pop(key, None)
            else:
                assert isinstance(answer, int)
                assert value is not None
                self.model[key] = Kept(value, self.took(answer), 0)
        self.done()

    @rule(key=key_strategy)
    def get(self, key: bytes) -> None:
        entry, live = self.engine.get(key), self.live(key)
        assert (None if entry is None else (entry.value, entry.lsn)) == (
            None if live is None else (live.value, live.version)
        )

    @rule(
        start=maybe_key, end=maybe_key, reverse=st.booleans(), limit=st.integers(1, 5), bytes_max=st.integers(1, 5000)
    )
    def scan_range(self, start: bytes | None, end: bytes | None, reverse: bool, limit: int, bytes_max: int) -> None:
        wanted = [key for key, _ in self.rows() if (start is None or key >= start) and (end is None or key < end)]
        found: list[bytes] = []
        low, high = start, end
        while True:
            page = self.engine.scan_page(low, high, reverse, limit, bytes_max, True, False, 1000)
            assert page.count == len(rows_of(page)) <= limit
            found += rows_of(page)
            if page.resume is None:
                break
            low, high = (low, page.resume) if reverse else (page.resume, high)
        assert found == (wanted[::-1] if reverse else wanted)
        total, low = 0, start
        while True:
            count, resume = self.engine.count_page(low, end, 3)
            total += count
            if resume is None:
                break
            low = resume
        assert total == len(wanted)

    @rule()
    def take_snapshot(self) -> None:
        """The snapshot before is let go; this one must not change whatever is done."""
        self.drop_snapshot()
        self.snapshot = self.engine.snapshot()
        self.highest = max(self.highest, self.engine.last_lsn)
        self.shown = [(key, kept.value, kept.version) for key, kept in self.rows()]

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def read_snapshot(self) -> None:
        assert self.snapshot is not None
        page = self.snapshot.scan_page(PageRequest(None, None, False, 1 << 30, 1 << 30, False, True, 1 << 30))
        assert [(key, msgpack.packb(value), version) for key, (value, version, _) in rows_of(page)] == self.shown
        for key, value, version in self.shown:
            entry = self.snapshot.get(key)
            assert entry is not None
            assert (entry.value, entry.lsn) == (value, version)

    def drop_snapshot(self) -> None:
        if self.snapshot is not None:
            self.snapshot.close()
            self.snapshot = None

    @rule(milliseconds=st.sampled_from([1, 100, 1000, 100_000]))
    def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)

    @rule()
    def synced(self) -> None:
        sync(self.engine)
        self.unsynced = [dict(self.model)]

    @rule()
    def work(self) -> None:
        run_jobs(self.engine, self.disk, self.options)

    @rule()
    def flush(self) -> None:
        self.engine.request_flush()
        run_jobs(self.engine, self.disk, self.options)

    @rule()
    def compact(self) -> None:
        self.engine.request_compact()
        run_jobs(self.engine, self.disk, self.options)

    @rule()
    def reopen(self) -> None:
        self.drop_snapshot()
        self.engine.close(True)
        self.open()
        self.unsynced = [dict(self.model)]

    @rule()
    def kill(self) -> None:
        self.disk = CrashDisk(self.disk.image())
        self.open()
        assert orphans(self.disk) == []
        self.unsynced = [dict(self.model)]

    @rule(survival=st.sampled_from(SURVIVALS), seed=st.integers(0, 1000))
    def power_cut(self, survival: object, seed: int) -> None:
        self.disk = CrashDisk(self.disk.image().power_cut(survival, seed))  # type: ignore[arg-type]
        self.open()
        assert orphans(self.disk) == []
        found = scan(self.engine)
        for state in reversed(self.unsynced):
            self.model = dict(state)
            if found == [(key, kept.value, kept.version) for key, kept in self.rows()]:
                break
        else:
            pytest.fail("what a power cut left is no state that could be left")
        self.unsynced = [dict(self.model)]

    @invariant()
    def everything_agrees(self) -> None:
        if self.starts == 0 or self.number % 4:
            return
        wanted = [(key, kept.value, kept.version) for key, kept in self.rows()]
        assert scan(self.engine) == wanted
        assert scan(self.engine, reverse=True, limit=3) == wanted[::-1]

    def teardown(self) -> None:
        if self.starts:
            self.drop_snapshot()
            self.engine.close(True)


class TestEngineAgainstADict(EngineMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=60, stateful_step_count=60)


@pytest.mark.soak
class TestEngineAgainstADictForLong(EngineMachine.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=3000, stateful_step_count=100)
