"""A Store's scans, which make Python's objects a page at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sherd import Store
from sherd.common.codec import JsonEncoder
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.options import EngineOptions

pytestmark = pytest.mark.core

ROWS = [(b"k%03d" % number, {"n": number, "list": [number, "x"]}) for number in range(300)]
A_MAP_WITH_A_LIST_FOR_A_KEY = b"\x81\x90\x01"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        store.batch([("put", key, value) for key, value in ROWS])
        yield store


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("page_bytes", [1, 500, 1 << 20])
def test_pages_of_any_size_make_one_scan(db: Store, page_bytes: int, flushed: bool) -> None:
    if flushed:
        db.flush()
    assert list(db.scan(page_bytes=page_bytes)) == ROWS
    assert list(db.scan(page_bytes=page_bytes, reverse=True)) == ROWS[::-1]
    assert list(db.scan(page_bytes=page_bytes, keys_only=True)) == [key for key, _ in ROWS]
    assert list(db.scan(b"k010", b"k250", page_bytes=page_bytes, limit=100)) == ROWS[10:110]
    assert list(db.scan(b"k010", b"k250", page_bytes=page_bytes, limit=100, reverse=True)) == ROWS[249:149:-1]
    with db.snapshot() as snapshot:
        db.delete(b"k000")
        assert list(snapshot.scan(page_bytes=page_bytes)) == ROWS
        assert list(snapshot.scan(page_bytes=page_bytes, keys_only=True, reverse=True)) == [k for k, _ in ROWS[::-1]]
    assert list(db.scan(page_bytes=page_bytes)) == ROWS[1:]


def test_a_scan_begins_with_the_first_row_asked_for(db: Store) -> None:
    rows = db.scan(limit=2)
    db.put(b"a", 1)
    assert list(rows) == [(b"a", 1), ROWS[0]]


def test_large_and_small_values_share_a_page(db: Store) -> None:
    wanted = [(b"v%d" % size, bytes(size)) for size in (0, 100, 70_000, 300_000)]
    db.batch([("put", key, value) for key, value in wanted])
    assert sorted(db.scan(prefix="v", page_bytes=4 << 20)) == sorted(wanted)
    assert sorted(db.scan(prefix="v", page_bytes=4 << 20, keys_only=True)) == sorted(key for key, _ in wanted)


def test_keys_of_every_length(db: Store) -> None:
    wanted = [b"z" * size for size in (1, 255, 256, 4096)]
    db.batch([("put", key, len(key)) for key in wanted])
    assert list(db.scan(prefix="z")) == [(key, len(key)) for key in wanted]


def test_keys_and_values_are_decoded(tmp_path: Path) -> None:
    with Store.open(tmp_path / "json", key_encoding="utf-8", encoder=JsonEncoder()) as db:
        db.batch([("put", "ä", [1]), ("put", "ö", {"a": None})])
        assert list(db.scan()) == [("ä", [1]), ("ö", {"a": None})]
        assert list(db.scan(keys_only=True, reverse=True)) == ["ö", "ä"]


def test_rows_before_a_value_that_python_has_no_object_for(db: Store) -> None:
    engine: Engine = db._engine
    engine.put(b"k002x", A_MAP_WITH_A_LIST_FOR_A_KEY)
    rows = db.scan()
    assert [next(rows) for _ in range(3)] == ROWS[:3]
    with pytest.raises(TypeError):
        next(rows)
    assert len(list(db.scan(keys_only=True))) == 301


def test_a_scan_of_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "empty", options=EngineOptions()) as db:
        assert list(db.scan()) == []
        assert list(db.scan(keys_only=True, reverse=True)) == []
