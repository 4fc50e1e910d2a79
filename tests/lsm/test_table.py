"""Tables: every entry comes back, by key and by cursor; and no damage to a file gives a wrong answer."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.crash_disk import CrashDisk, Fault
from support.damage import flips, truncations
from support.table_run import KEYS, SMALL, check_cursor, entries, open_table, walk, walk_back, write_table
from xxhash import xxh3_64_intdigest

from sherd.common.disk import File, RealDisk
from sherd.common.errors import Corruption, SherdError, StoreClosed, StoreCorrupt, StoreFormat
from sherd.shard.lsm.block import Block
from sherd.shard.lsm.block_frame import BlockDecoder
from sherd.shard.lsm.bloom import hash_key
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT, TABLE_FOOTER_BYTES, TABLE_HEADER_BYTES
from sherd.shard.lsm.level_cursor import LevelCursor
from sherd.shard.lsm.table import Table
from sherd.shard.lsm.table_layout import HANDLE, Footer, Handle, TableProperties, decode_header, encode_header
from sherd.shard.lsm.table_writer import TableOptions, TableWriter

pytestmark = pytest.mark.core

CONTENTS = st.dictionaries(KEYS, entries(), min_size=1, max_size=60)
PLAIN = {b"%03d" % i: Entry(i + 1, KIND_PUT, 0, b"value of %d" % i) for i in range(40)}


def get(table: Table, key: bytes) -> Entry | None:
    return table.get(key, hash_key(key))


def options() -> st.SearchStrategy[TableOptions]:
    return st.builds(
        TableOptions,
        block_bytes=st.sampled_from([1, 64, 256, 4096]),
        compression=st.sampled_from(["none", "lz4", "zstd:1"]),
        bloom_bits_per_key=st.sampled_from([0, 1, 10]),
    )


@given(CONTENTS, options(), st.lists(KEYS, max_size=6), st.sampled_from([0, 3000, 1 << 20]))
def test_a_table_is_what_was_written(
    contents: dict[bytes, Entry], how: TableOptions, others: list[bytes], cache_bytes: int
) -> None:
    disk = CrashDisk()
    written = write_table(disk, "/t", contents, how)
    table = open_table(disk, "/t", 1, BlockCache(cache_bytes))
    for key in [*contents, *others, b"", b"\xff" * 9]:
        assert get(table, key) == contents.get(key)
    check_cursor(table.cursor(), contents, [*others, b"", min(contents), max(contents), b"\xff" * 9])
    table.verify()
    assert table.properties == written
    assert written == TableProperties(
        entries=len(contents),
        tombstones=sum(entry.kind == KIND_DELETE for entry in contents.values()),
        imports=sum(entry.kind == 3 for entry in contents.values()),
        expiring=sum(entry.expiry_ms > 0 for entry in contents.values()),
        smallest=min(contents),
        largest=max(contents),
        min_lsn=min(entry.lsn for entry in contents.values()),
        max_lsn=max(entry.lsn for entry in contents.values()),
        raw_bytes=sum(len(key) + len(entry.value or b"") for key, entry in contents.items()),
        block_bytes=written.block_bytes,
        blocks=written.blocks,
        file_bytes=len(disk.read("/t")),
    )


def test_a_table_on_a_real_disk(tmp_path: object) -> None:
    disk = RealDisk()
    contents = {b"%06d" % i: Entry(i + 1, KIND_PUT, 0, b"v" * (i % 300)) for i in range(20_000)}
    write_table(disk, f"{tmp_path}/t", contents, TableOptions())
    table = open_table(disk, f"{tmp_path}/t", 1, BlockCache(1 << 20))
    assert walk(table.cursor()) == list(contents.items())
    assert walk_back(table.cursor()) == list(reversed(contents.items()))
    assert all(get(table, key) == entry for key, entry in contents.items())
    table.verify()
    table.close()


def test_small_entries_cost_little_more_than_their_bytes() -> None:
    disk = CrashDisk()
    contents = {b"%016d" % i: Entry(i + 1, KIND_PUT, 0, bytes(100)) for i in range(20_000)}
    written = write_table(disk, "/t", contents, TableOptions(compression="none"))
    assert written.file_bytes <= 1.2 * written.raw_bytes


def test_a_large_value_has_a_block_of_its_own() -> None:
    disk = CrashDisk()
    contents = {
        b"a": Entry(1, KIND_PUT, 0, b"small"),
        b"b": Entry(2, KIND_PUT, 0, bytes(8 << 20)),
        b"c": Entry(3, KIND_PUT, 0, b"small"),
    }
    assert write_table(disk, "/t", contents).blocks == 3
    assert dict(walk(open_table(disk, "/t").cursor())) == contents


def test_a_writer_refuses_keys_out_of_order() -> None:
    writer = TableWriter(CrashDisk().create("/t"), SMALL, 1)
    writer.add(b"b", 1, KIND_PUT, 0, b"")
    for key in (b"a", b"b", b"a\xff"):
        with pytest.raises(ValueError, match="sort"):
            writer.add(key, 2, KIND_PUT, 0, b"")
    writer.add(b"b\0", 2, KIND_PUT, 0, b"")
    assert writer.finish().entries == 2
    with pytest.raises(ValueError, match="finished"):
        writer.add(b"c", 3, KIND_PUT, 0, b"")
    with pytest.raises(ValueError, match="finished"):
        writer.finish()


def test_a_table_without_entries_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an entry"):
        TableWriter(CrashDisk().create("/t"), SMALL, 1).finish()


class HintedFile:
    """A file that counts how often it is asked to write behind."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.hints = 0

    def write_behind(self) -> None:
        self._file.write_behind()
        self.hints += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_finished_table_is_durable() -> None:
    disk = CrashDisk()
    file = HintedFile(disk.create("/t"))
    writer = TableWriter(cast(File, file), TableOptions(compression="none"), 1)
    for i in range(200_000):
        writer.add(b"%07d" % i, i + 1, KIND_PUT, 0, bytes(100))
    assert file.hints >= 10, "the disk works along"
    assert not any(op.kind == "sync" for op in disk.operations), "nothing waits for it before the end"
    writer.finish()
    assert disk.operations[-1].kind == "sync"


def test_a_missing_table_is_refused() -> None:  # FAULTS 14
    with pytest.raises(StoreCorrupt, match=r"/t is missing"):
        open_table(CrashDisk(), "/t")


@pytest.fixture(scope="module")
def image() -> bytes:
    disk = CrashDisk()
    write_table(disk, "/t", PLAIN)
    return disk.read("/t")


def damaged(image: bytes) -> Table:
    disk = CrashDisk()
    disk.create("/t").close()
    disk.replace("/t", image)
    return open_table(disk, "/t")


def test_a_table_cut_anywhere_is_refused(image: bytes) -> None:  # FAULTS 14
    for _, cut in truncations(image):
        with pytest.raises(StoreCorrupt, match="/t"):
            damaged(cut)
    with pytest.raises(StoreCorrupt):
        damaged(image + b"\0")


def answers(table: Table) -> Iterator[tuple[object, object]]:
    """What reads of the table say beside what they should say; a read may refuse instead."""
    for key, entry in PLAIN.items():
        with contextlib.suppress(Corruption):
            yield get(table, key), entry
    for read, right in ((walk, list(PLAIN.items())), (walk_back, list(reversed(PLAIN.items())))):
        with contextlib.suppress(Corruption):
            yield read(table.cursor()), right


def test_no_flipped_byte_gives_a_wrong_answer(image: bytes) -> None:  # FAULTS 13
    for _, flipped in flips(image, (0x01, 0x80)):
        with pytest.raises((Corruption, StoreCorrupt), match=r"/t.* byte"):
            damaged(flipped).verify()
        try:
            table = damaged(flipped)
        except (Corruption, StoreCorrupt):
            continue
        for found, right in answers(table):
            assert found == right


def block_ranges(image: bytes) -> list[tuple[int, int]]:
    """Where the data blocks lie, trailers included."""
    salt = decode_header(image[:TABLE_HEADER_BYTES])
    place = Footer.decode(image[-TABLE_FOOTER_BYTES:], salt).index
    index = Block(BlockDecoder().decode(image[place.offset : place.end], place.raw_bytes, salt, place.offset, "/t"))
    cursor = Cursor()
    ranges = []
    for i in range(index.count):
        index.show(i, cursor)
        handle = Handle(*HANDLE.unpack(cursor.value()))
        ranges.append((handle.offset, handle.end))
    return ranges


def test_swapped_blocks_are_noticed() -> None:  # FAULTS 13
    disk = CrashDisk()
    contents = {b"%03d" % i: Entry(i + 1, KIND_PUT, 0, b"same size") for i in range(64)}
    write_table(disk, "/t", contents, TableOptions(block_bytes=8 * 27 + 4, compression="none"))
    image = disk.read("/t")
    (a, b), (c, d) = block_ranges(image)[:2]
    assert b - a == d - c
    swapped = image[:a] + image[c:d] + image[a:b] + image[d:]
    disk.replace("/t", swapped)
    table = open_table(disk, "/t")
    for key in (b"000", b"008", b"015"):
        with pytest.raises(Corruption, match="checksum"):
            get(table, key)
    assert get(table, b"063") == contents[b"063"]
    cursor = table.cursor()
    with pytest.raises(Corruption):
        cursor.seek_first()
    assert not cursor.valid


def test_a_block_of_another_table_is_noticed() -> None:
    disk = CrashDisk()
    for salt in (1, 2):
        write_table(disk, f"/{salt}", PLAIN, SMALL, salt)
    first, second = disk.read("/1"), disk.read("/2")
    a, b = block_ranges(first)[0]
    disk.replace("/1", first[:a] + second[a:b] + first[b:])
    with pytest.raises(Corruption, match="checksum"):
        get(open_table(disk, "/1"), b"000")


def test_a_footer_of_another_table_is_noticed() -> None:
    disk = CrashDisk()
    for salt in (1, 2):
        write_table(disk, f"/{salt}", PLAIN, SMALL, salt)
    disk.replace("/1", disk.read("/1")[:-TABLE_FOOTER_BYTES] + disk.read("/2")[-TABLE_FOOTER_BYTES:])
    with pytest.raises(StoreCorrupt):
        open_table(disk, "/1")


def test_another_format_version_is_named(image: bytes) -> None:
    salt = decode_header(image[:TABLE_HEADER_BYTES])
    newer = bytearray(encode_header(salt))
    newer[8] = 2
    newer[-8:] = xxh3_64_intdigest(bytes(newer[:-8])).to_bytes(8, "little")
    with pytest.raises(StoreFormat, match="version 2"):
        damaged(bytes(newer) + image[TABLE_HEADER_BYTES:])


@settings(max_examples=300)
@given(st.data())
def test_random_damage_never_gives_a_wrong_answer(image: bytes, data: st.DataObject) -> None:
    changed = bytearray(image)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(image) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=16))
        changed[at : at + len(patch)] = patch
    try:
        table = damaged(bytes(changed))
    except SherdError:
        return
    for found, right in answers(table):
        assert found == right


def test_a_failing_disk_is_an_error_of_the_disk_and_passes() -> None:
    disk = CrashDisk()
    write_table(disk, "/t", PLAIN)
    for kind in ("write", "sync"):
        disk.faults = [Fault(kind, errno.EIO, "/u")]
        with pytest.raises(OSError, match="Input/output"):
            write_table(disk, "/u", PLAIN)
        disk.unlink("/u")


def test_released_tables_open_their_file_again() -> None:
    disk = CrashDisk()
    write_table(disk, "/t", PLAIN)
    table = open_table(disk, "/t")
    cursor = table.cursor()
    cursor.seek_first()
    for key, entry in PLAIN.items():
        table.release()
        assert not table.file_is_open
        assert get(table, key) == entry
        assert table.file_is_open
        table.release()
        assert (cursor.key, cursor.entry()) == (key, entry)
        cursor.next()


def test_a_closed_table_says_so() -> None:
    disk = CrashDisk()
    write_table(disk, "/t", PLAIN)
    table = open_table(disk, "/t")
    cursor = table.cursor()
    table.close()
    table.close()
    with pytest.raises(StoreClosed):
        get(table, b"000")
    with pytest.raises(StoreClosed):
        cursor.seek_first()
    assert not cursor.valid


@given(CONTENTS, st.integers(1, 8), st.lists(KEYS, max_size=5))
def test_a_level_is_one_sorted_whole(contents: dict[bytes, Entry], parts: int, others: list[bytes]) -> None:
    disk = CrashDisk()
    keys = sorted(contents)
    chunks = [chunk for i in range(parts) if (chunk := keys[i * len(keys) // parts : (i + 1) * len(keys) // parts])]
    for i, chunk in enumerate(chunks):
        write_table(disk, f"/{i}", {key: contents[key] for key in chunk})
    level = LevelCursor([(chunk[0], chunk[-1]) for chunk in chunks], lambda i: open_table(disk, f"/{i}", i).cursor())
    check_cursor(level, contents, [*others, *keys[:5], b"", b"\xff" * 9])


def test_a_level_opens_only_what_it_walks() -> None:
    disk = CrashDisk()
    opened = []
    for i in range(4):
        write_table(disk, f"/{i}", {b"%d%d" % (i, j): Entry(1, KIND_PUT, 0, b"") for j in range(3)})

    def cursor(i: int) -> object:
        opened.append(i)
        return open_table(disk, f"/{i}", i).cursor()

    level = LevelCursor([(b"%d0" % i, b"%d2" % i) for i in range(4)], cursor)  # type: ignore[arg-type]
    assert opened == []
    level.seek(b"11")
    level.next()
    assert opened == [1]
    level.next()
    assert opened == [1, 2]
    level.seek(b"22")
    assert opened == [1, 2]


def test_overlapping_ranges_are_no_level() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        LevelCursor([(b"a", b"c"), (b"c", b"d")], lambda i: open_table(CrashDisk(), "/t").cursor())
