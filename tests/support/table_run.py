"""Making tables and reading them back, for tests."""

from collections.abc import Iterable, Mapping

from hypothesis import strategies as st

from sherd.common.disk import Disk
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import KIND_DELETE, KIND_IMPORT, KIND_PUT
from sherd.shard.lsm.table import Table
from sherd.shard.lsm.table_layout import TableProperties
from sherd.shard.lsm.table_writer import TableOptions, TableWriter

SMALL = TableOptions(block_bytes=256, compression="none")

# Few distinct bytes and lengths, so that keys share prefixes, and prefixes are keys.
KEYS = st.binary(min_size=1, max_size=5) | st.lists(
    st.sampled_from([b"a", b"\0", b"\xff"]), min_size=1, max_size=4
).map(b"".join)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any entry that a table can hold."""
    lsn = draw(st.integers(1, 2**64 - 1))
    kind = draw(st.sampled_from([KIND_PUT, KIND_PUT, KIND_DELETE, KIND_IMPORT]))
    if kind == KIND_DELETE:
        return Entry(lsn, kind, 0, None)
    expiry_ms = draw(st.just(0) | st.integers(1, 2**64 - 1))
    value = draw(st.binary(max_size=20) | st.integers(0, 700).map(lambda size: b"v" * size))
    return Entry(lsn, kind, expiry_ms, value)


def write_table(
    disk: Disk, path: str, contents: Mapping[bytes, Entry], options: TableOptions = SMALL, salt: int = 1
) -> TableProperties:
    """Write ``contents`` as a table."""
    file = disk.create(path)
    try:
        writer = TableWriter(file, options, salt)
        for key in sorted(contents):
            entry = contents[key]
            writer.add(key, entry.lsn, entry.kind, entry.expiry_ms, entry.value)
        return writer.finish()
    finally:
        file.close()


def open_table(disk: Disk, path: str, number: int = 1, cache: BlockCache | None = None) -> Table:
    """The table at ``path``, by default without a cache."""
    return Table.open(disk, path, number, cache if cache is not None else BlockCache(0))


def walk(cursor: Cursor) -> list[tuple[bytes, Entry]]:
    """Everything that the cursor shows from its first entry on."""
    found = []
    cursor.seek_first()
    while cursor.valid:
        found.append((cursor.key, cursor.entry()))
        cursor.next()
    return found


def walk_back(cursor: Cursor) -> list[tuple[bytes, Entry]]:
    """Everything that the cursor shows from its last entry back."""
    found = []
    cursor.seek_last()
    while cursor.valid:
        found.append((cursor.key, cursor.entry()))
        cursor.prev()
    return found


def check_cursor(cursor: Cursor, expected: Mapping[bytes, Entry], probes: Iterable[bytes]) -> None:
    """The cursor shows exactly ``expected``: both ways, and around each of the probed keys."""
    keys = sorted(expected)
    assert walk(cursor) == [(key, expected[key]) for key in keys]
    assert walk_back(cursor) == [(key, expected[key]) for key in reversed(keys)]
    for probe in probes:
        after = [key for key in keys if key >= probe]
        before = [key for key in keys if key < probe]
        cursor.seek(probe)
        assert_at(cursor, after[0] if after else None)
        cursor.prev()
        assert_at(cursor, before[-1] if before and after else None)
        cursor.seek_before(probe)
        assert_at(cursor, before[-1] if before else None)
        cursor.next()
        assert_at(cursor, after[0] if before and after else None)
        cursor.next()
        assert_at(cursor, after[1] if before and len(after) > 1 else None)
        cursor.prev()
        assert_at(cursor, after[0] if before and len(after) > 1 else None)


def assert_at(cursor: Cursor, key: bytes | None) -> None:
    """The cursor is at ``key``, or at no entry."""
    assert bool(cursor.valid) == (key is not None)
    if key is not None:
        assert cursor.key == key
