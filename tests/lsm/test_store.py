"""``Store``: the clients' face over an engine in this process, on real files."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sherd import Store
from sherd.common.clock import ManualClock
from sherd.common.codec import JsonEncoder
from sherd.common.disk import File, RealDisk
from sherd.common.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    StoreClosed,
    StoreFormat,
    StoreLocked,
    StoreReadOnly,
    TooLarge,
)
from sherd.common.limits import Limits
from sherd.common.types import Versioned
from sherd.shard.lsm.options import EngineOptions

pytestmark = pytest.mark.core

TINY = EngineOptions(
    memtable_bytes=32 << 10,
    cache_bytes=64 << 10,
    block_bytes=1024,
    table_bytes=8 << 10,
    level0_tables_compact=2,
    level_base_bytes=16 << 10,
    level_size_multiplier=3,
)


class NotingFile:
    """A file that tells of its syncs."""

    def __init__(self, file: File, synced: threading.Event) -> None:
        self._file = file
        self._synced = synced

    def sync(self) -> None:
        self._file.sync()
        self._synced.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class NotingDisk(RealDisk):
    """Real files; ``synced`` is set by every sync of a log segment."""

    __slots__ = ("synced",)

    def __init__(self) -> None:
        self.synced = threading.Event()

    def open_append(self, path: str, position: int | None = None) -> Any:
        return NotingFile(super().open_append(path, position), self.synced)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def db(path: str) -> Iterator[Store]:
    with Store.open(path, options=TINY) as store:
        yield store


@pytest.mark.parametrize(
    "value", [0, -1, 2**64 - 1, 1.5, True, False, "text", "ü", b"", b"bytes", [], [1, [2]], {}, {"a": {1: None}}]
)
def test_any_value_comes_back(db: Store, value: Any) -> None:
    db.put("key", value)
    found = db.get("key")
    assert found == value
    assert type(found) is type(value)


def test_keys(db: Store) -> None:
    db.put("ü", 1)
    assert db.get("ü".encode()) == db.get(bytearray("ü".encode())) == 1
    assert list(db.scan(keys_only=True)) == ["ü".encode()]
    assert db.get("none") is None
    assert db.get("none", "default") == "default"
    assert db.mget(["none", "ü", b"none"]) == [None, 1, None]


def test_wrong_arguments(db: Store) -> None:
    with pytest.raises(BadRequest, match="empty"):
        db.put("", 1)
    with pytest.raises(TooLarge):
        db.get(bytes(4097))
    db.put(bytes(4096), 1)
    with pytest.raises(TypeError):
        db.get(5)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="None"):
        db.put("k", None)
    with pytest.raises(TypeError):
        db.put("k", object())
    with pytest.raises(BadRequest):
        db.put("k", 2**64)
    for ttl in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadRequest):
            db.put("k", 1, ttl=ttl)
    with pytest.raises(BadRequest):
        db.put("k", 1, if_version=-1)
    with pytest.raises(TypeError):
        db.mget("key")
    with pytest.raises(BadRequest):
        db.batch([("get", "k")])
    with pytest.raises(BadRequest):
        db.batch([("put", "k")])
    with pytest.raises(BadRequest, match="option"):
        db.batch([("delete", "k", {"ttl": 1})])
    assert db.get("k") is None


def test_values_have_limits(path: str) -> None:
    with Store.open(path, limits=Limits(value_bytes_max=2048)) as db:
        db.put("k", bytes(2000))
        with pytest.raises(TooLarge, match="2048"):
            db.put("k", bytes(2048))
        nested: list[Any] = []
        for _ in range(127):
            nested = [nested]
        db.put("k", nested)
        assert db.get("k") == nested
        with pytest.raises(BadRequest, match="nests"):
            db.put("k", [nested])


def test_versions(db: Store) -> None:
    first = db.put("k", 1, if_version=0)
    with pytest.raises(Conflict) as caught:
        db.put("k", 2, if_version=0)
    assert caught.value.version == first
    second = db.put("k", 2, if_version=first)
    assert second > first
    assert db.get("k", meta=True) == Versioned(2, second, None)
    with pytest.raises(Conflict):
        db.delete("k", if_version=first)
    assert db.delete("k", if_version=second)
    assert not db.delete("k")
    assert db.put("k", 3, if_version=0) > second


def test_delete_returns_the_old_value(db: Store) -> None:
    db.put("k", False)
    assert db.delete("k", return_value=True) is False
    db.put("k", [1])
    assert db.delete("k", return_value=True) == [1]
    assert db.delete("k", return_value=True) is False


def test_batches(db: Store) -> None:
    version = db.put("a", 1)
    answers = db.batch([("put", "b", 2, {"ttl": 60}), ("delete", "a", {"if_version": version}), ("delete", "c")])
    assert answers[1:] == [True, False]
    assert db.mget(["a", "b"]) == [None, 2]
    with pytest.raises(Conflict):
        db.batch([("put", "x", 1), ("put", "b", 3, {"if_version": 1})])
    assert db.get("x") is None
    assert db.batch([]) == []


def test_expiry(path: str) -> None:
    clock = ManualClock()
    with Store.open(path, clock=clock) as db:
        db.put("k", 1, ttl=1.5)
        db.put("stays", 1)
        clock.advance(1)
        assert db.get("k", meta=True).seconds_left == pytest.approx(0.5)
        clock.advance(0.5)
        assert db.get("k") is None
        assert db.count() == 1
        assert db.put("k", 2, if_version=0) > 0


def test_ranges(db: Store) -> None:
    for number in range(200):
        db.put(f"k{number:03}", number)
    db.put("other", 1)
    assert [value for _, value in db.scan(prefix="k")] == list(range(200))
    assert [value for _, value in db.scan("k010", "k013")] == [10, 11, 12]
    assert [value for _, value in db.scan("k010", "k013", reverse=True)] == [12, 11, 10]
    assert list(db.scan("k150", prefix="k15", limit=2)) == [(b"k150", 150), (b"k151", 151)]
    for limit in (0, -1):
        with pytest.raises(BadRequest, match="limit"):
            db.scan(limit=limit)
    assert list(db.scan(reverse=True, limit=1, keys_only=True)) == [b"other"]
    assert len(list(db.scan(page_bytes=1))) == 201
    assert len(list(db.scan(page_bytes=1, reverse=True))) == 201
    assert (db.count(), db.count("k010", "k020"), db.count(prefix="k"), db.count(prefix="zz")) == (201, 10, 200, 0)
    assert db.count(prefix=b"\xff\xff") == 0


def test_a_scan_goes_on_while_others_write(db: Store) -> None:
    for number in range(100):
        db.put(f"k{number:03}", 0)
    seen = []
    for key, _ in db.scan(page_bytes=50):
        seen.append(key)
        db.delete(key)
    assert len(seen) == 100
    assert db.count() == 0


def test_key_encoding_and_encoder(path: str) -> None:
    with Store.open(path, key_encoding="utf-8", encoder=JsonEncoder()) as db:
        db.put("k", {"a": 1})
        assert list(db.scan()) == [("k", {"a": 1})]
    with Store.open(path) as db:
        assert db.get("k") == b'{"a":1}'
    with pytest.raises(ConfigError):
        Store.open(path, key_encoding="no such")


@pytest.mark.parametrize("fsync", ["always", "ops:3", "interval:1ms", "os"])
def test_everything_is_there_after_reopening(path: str, fsync: str) -> None:
    with Store.open(path, options=EngineOptions(memtable_bytes=32 << 10, fsync=fsync)) as db:
        for number in range(300):
            db.put(f"k{number}", bytes(100))
        last = db.put("last", 1, sync=True)
        assert db.status()["synced_lsn"] == last
    with Store.open(path, create=False) as db:
        assert db.count() == 301
        assert db.get("last", meta=True).version == last
        assert db.put("new", 1) > last


def synced(db: Store) -> bool:
    status = db.status()
    return bool(status["synced_lsn"] == status["last_lsn"])


def test_when_it_is_synced(path: str) -> None:
    clock = ManualClock()

    def opened(fsync: str) -> Store:
        return Store.open(path, fsync=fsync, clock=clock)

    with opened("always") as db:
        db.put("k", 1)
        assert synced(db)
    with opened("ops:3") as db:
        db.put("k", 1)
        db.put("k", 1)
        assert not synced(db)
        db.put("k", 1)
        assert synced(db)
    with opened("interval:1s") as db:
        db.put("k", 1)
        assert not synced(db)
        clock.advance(1)
        assert not synced(db)  # nobody wrote
        db.put("k", 1)
        assert synced(db)
        db.put("k", 1, sync=True)
        assert synced(db)
        db.delete("k")
        db.sync()
        assert synced(db)
    with opened("os") as db:
        db.put("k", 1)
        assert not synced(db)
        db.sync()
        assert synced(db)


def test_a_pause_is_synced_by_the_timer(path: str) -> None:
    """Under ``interval:T`` the last write before a pause does not wait for the next one."""
    disk = NotingDisk()
    with Store.open(path, fsync="interval:20ms", disk=disk) as db:
        db.put("k", 1)
        db.put("k", 2)
        while not synced(db):
            assert disk.synced.wait(10)
            disk.synced.clear()
    threads = [thread.name for thread in threading.enumerate()]
    assert "sherd-sync" not in threads


def test_inline_background_work(db: Store) -> None:
    for number in range(1500):
        db.put(f"k{number * 7919 % 1500:04}", bytes(100))
    status = db.status()
    assert status["flushes"] > 3
    assert status["compactions"] > 0
    assert status["memtable_bytes"] <= 2 * TINY.memtable_bytes
    assert db.count() == 1500
    assert db.flush()["memtables_frozen"] == 0
    assert [level["tables"] for level in db.compact()["levels"][:-1]] == [0] * 6
    assert db.verify().ok
    assert db.count() == 1500


def test_a_janitor_does_the_work(path: str) -> None:
    with Store.open(path, options=TINY, janitor=True) as db:
        for number in range(1500):
            db.put(f"k{number * 7919 % 1500:04}", bytes(100))
        db.compact()
        assert db.count() == 1500
        assert db.status()["flushes"] > 0
    with Store.open(path) as db:
        assert db.count() == 1500


def test_snapshots(db: Store) -> None:
    db.put("a", 1, ttl=100)
    db.put("b", 2)
    with db.snapshot() as snapshot:
        db.delete("b")
        db.put("c", 3)
        assert list(snapshot.scan()) == [(b"a", 1), (b"b", 2)]
        assert list(snapshot.scan(reverse=True, limit=1, keys_only=True)) == [b"b"]
        assert (snapshot.get("b"), snapshot.get("c", 0), snapshot.count()) == (2, 0, 2)
        assert 99 <= snapshot.get("a", meta=True).seconds_left <= 100
    assert db.count() == 2


def test_opening(path: str) -> None:
    with pytest.raises(StoreFormat):
        Store.open(path, create=False)
    with Store.open(path) as db:
        assert db.ping() == "pong"
        with pytest.raises(StoreLocked, match="another process"):
            Store.open(path)
        db.put("k", 1)
    for call in (db.ping, db.sync, db.status, lambda: db.get("k"), lambda: db.put("k", 1), lambda: list(db.scan())):
        with pytest.raises(StoreClosed):
            call()  # type: ignore[operator]
    db.close()
    with Store.open(path, read_only=True) as db:
        assert db.get("k") == 1
        with pytest.raises(StoreReadOnly):
            db.put("k", 2)
        with pytest.raises(StoreReadOnly):
            db.delete("k")


def test_the_many_short_lives_of_a_store(path: str) -> None:
    for life in range(12):
        with Store.open(path, fsync="os") as db:
            db.put(f"k{life}", life)
            assert db.count() == life + 1
    assert len([name for name in os.listdir(path) if name.endswith(".wal")]) <= 6


def test_small_stores_are_small(path: str) -> None:
    """The room taken in advance for the log is given back by a clean close."""
    with Store.open(path) as db:
        db.put("k", 1)
    assert sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path)) < 10_000


def test_threads_share_a_store(db: Store) -> None:
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(200):
                db.put(f"{name}:{number:03}", number)
                assert db.get(f"{name}:{number:03}") == number
            assert db.count(prefix=f"{name}:") == 200
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert db.count() == 800


def test_a_forks_child_may_not_use_it(db: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(StoreClosed, match="fork"):
            db.get("k")
        db.close()  # leaves the parent's store alone
    assert db.ping() == "pong"
