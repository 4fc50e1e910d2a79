"""The MANIFEST: round trips, damage, versions, and that replacing it is atomic on a disk that forgets."""

import errno
from dataclasses import astuple, fields, replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.crash_disk import Crash, CrashDisk, Fault
from support.damage import flips, truncations
from support.survival import SURVIVALS
from xxhash import xxh3_64_intdigest

from sherd.common.errors import StoreCorrupt, StoreFormat
from sherd.shard.lsm.format import LSN_MAX
from sherd.shard.lsm.manifest import (
    TERMS_KEPT_MAX,
    Drop,
    Manifest,
    TableMeta,
    decode_manifest,
    read_manifest,
    write_manifest,
)

pytestmark = pytest.mark.core

STORE_ID = bytes(range(16))


def table(number: int, level: int = 0, smallest: bytes = b"a", largest: bytes = b"b", max_lsn: int = 9) -> TableMeta:
    return TableMeta(number, level, 1000, 10, 2, 1, smallest, largest, 1, max_lsn)


SAMPLE = Manifest(
    STORE_ID,
    next_file=9,
    tables=(table(7), table(3), table(4, 1, b"a", b"c"), table(5, 1, b"c\0", b"d"), table(6, 2, b"a", b"z")),
    first_segment=8,
    kept_segment=2,
    flushed_lsn=1 << 33,
    logged_ms=1_700_000_000_000,
    terms=((1, 1), (5, 1 << 32)),
    clean_lsn=1 << 34,
    drops=(Drop(3, 77),),
)
U64 = st.integers(0, LSN_MAX)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    numbers = draw(st.lists(st.integers(1, 10_000), unique=True, max_size=8))
    keys = sorted(
        draw(st.lists(st.binary(min_size=1, max_size=9), unique=True, min_size=2 * len(numbers), max_size=50))
    )
    first_deep = draw(st.integers(0, len(numbers)))
    tables = []
    for i, number in enumerate(numbers):
        lsns = sorted((draw(U64), draw(U64)))
        entries = draw(U64)
        level = 0 if i < first_deep else 3
        counts = (draw(st.integers(0, entries)), draw(st.integers(0, entries)))
        tables.append(TableMeta(number, level, draw(U64), entries, *counts, keys[2 * i], keys[2 * i + 1], *lsns))
    next_file = draw(st.integers(10_001, LSN_MAX))
    first = draw(st.integers(0, next_file))
    terms = sorted(draw(st.sets(U64, max_size=5)))
    lsns = sorted(draw(st.sets(U64, min_size=len(terms), max_size=len(terms))))
    return Manifest(
        draw(st.binary(min_size=16, max_size=16)),
        next_file,
        tuple(tables),
        first,
        draw(st.integers(0, first)),
        draw(U64),
        draw(U64),
        tuple(zip(terms, lsns, strict=True)),
        draw(st.none() | U64),
        tuple(draw(st.lists(st.builds(Drop, U64, U64), max_size=3))),
        draw(st.booleans()),
        draw(st.sampled_from(["", "5922e98a056b3e40/12"])),
    )


@given(manifests())
def test_what_is_encoded_is_decoded(manifest: Manifest) -> None:
    assert decode_manifest(manifest.encode(), "MANIFEST") == manifest


@given(manifests())
def test_the_file_has_every_field_under_its_name_and_rows_in_the_order_of_theirs(manifest: Manifest) -> None:
    body = msgpack.unpackb(manifest.encode()[16:-8])
    left_out = {name for name in ("partial", "owner") if not getattr(manifest, name)}
    assert list(body) == [field.name for field in fields(Manifest) if field.name not in left_out]
    assert body["tables"] == [list(astuple(table)) for table in manifest.tables]
    assert body["drops"] == [list(astuple(drop)) for drop in manifest.drops]


def test_the_smallest_manifest() -> None:
    assert decode_manifest(Manifest(STORE_ID).encode(), "MANIFEST") == Manifest(STORE_ID)
    assert Manifest(STORE_ID).term == 0
    assert SAMPLE.term == 5


def test_terms_are_remembered_within_bounds() -> None:
    manifest = Manifest(STORE_ID)
    for term in range(1, TERMS_KEPT_MAX + 11):
        manifest = manifest.with_term(term, term << 32)
    assert len(manifest.terms) == TERMS_KEPT_MAX
    assert manifest.terms[0] == (11, 11 << 32)
    assert manifest.term == TERMS_KEPT_MAX + 10
    assert decode_manifest(manifest.encode(), "MANIFEST") == manifest


def test_a_cut_manifest_is_refused() -> None:
    for _, cut in truncations(SAMPLE.encode()):
        with pytest.raises(StoreCorrupt, match=r"^/db/MANIFEST "):
            decode_manifest(cut, "/db/MANIFEST")


def test_a_flipped_manifest_is_refused() -> None:
    for _, damaged in flips(SAMPLE.encode(), tuple(1 << bit for bit in range(8))):
        with pytest.raises(StoreCorrupt, match=r"^/db/MANIFEST "):
            decode_manifest(damaged, "/db/MANIFEST")


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 8, b"x", SAMPLE.encode()])
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        decode_manifest(SAMPLE.encode() + tail, "MANIFEST")


def signed(content: bytes) -> bytes:
    return content + xxh3_64_intdigest(content).to_bytes(8, "little")


def with_body(body: bytes) -> bytes:
    return signed(b"SherdMan\1\0\0\0" + len(body).to_bytes(4, "little") + body)


def test_other_versions_and_other_files_are_named() -> None:
    content = SAMPLE.encode()[:-8]
    with pytest.raises(StoreFormat, match="version 2; this Sherd reads version 1"):
        decode_manifest(signed(content[:8] + b"\2\0\0\0" + content[12:]), "MANIFEST")
    with pytest.raises(StoreFormat, match="not a MANIFEST"):
        decode_manifest(signed(b"SomeElse" + content[8:]), "MANIFEST")
    with pytest.raises(StoreCorrupt, match="length"):
        decode_manifest(signed(content + b"\0"), "MANIFEST")


BODY = msgpack.unpackb(SAMPLE.encode()[16:-8])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\x90",
        b"\xdf\xff\xff\xff\xff",  # 2^32 - 1 pairs
        b"\xdd\xff\xff\xff\xff",
        b"\x81\x90\x90",  # a key that cannot be one
        b"\x91" * 5000,
        msgpack.packb(BODY) + b"\0",
        msgpack.packb({**BODY, "more": 1}),
        msgpack.packb({name: value for name, value in BODY.items() if name != "terms"}),
        *(
            msgpack.packb({**BODY, name: value})
            for name, value in (
                ("store_id", "0123456789abcdef"),
                ("store_id", b"short"),
                ("next_file", -1),
                ("next_file", 1.0),
                ("next_file", True),
                ("next_file", None),
                ("next_file", 5),  # below a table's number
                ("first_segment", 10),
                ("kept_segment", 9),
                ("logged_ms", "now"),
                ("clean_lsn", "x"),
                ("terms", None),
                ("terms", [[1, 1], [1, 2]]),
                ("terms", [[1, 2], [2, 2]]),
                ("terms", [[1, 2, 3]]),
                ("terms", [["1", 2]]),
                ("drops", [7]),
                ("drops", [[1, None]]),
                ("tables", [BODY["tables"][0], BODY["tables"][0]]),
                ("tables", [BODY["tables"][3], BODY["tables"][2]]),
                ("tables", [BODY["tables"][2], BODY["tables"][0]]),
                ("tables", [BODY["tables"][2], [8, *BODY["tables"][2][1:]]]),
                ("tables", [BODY["tables"][0][:-1]]),
            )
        ),
        *(
            msgpack.packb({**BODY, "tables": [[*row[:at], value, *row[at + 1 :]]]})
            for row in BODY["tables"][:1]
            for at, value in (
                (0, 0),
                (0, 9),
                (1, 16),
                (1, "0"),
                (3, 1),
                (5, 11),
                (6, "a"),
                (6, b""),
                (6, b"c"),
                (8, 10),
            )
        ),
    ],
)
def test_a_body_that_cannot_be_is_refused(body: bytes) -> None:
    with pytest.raises(StoreCorrupt, match="offset 16"):
        decode_manifest(with_body(body), "MANIFEST")


@given(st.binary(max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, with_body(noise)):
        with pytest.raises(StoreCorrupt):
            decode_manifest(data, "MANIFEST")


def test_a_manifest_that_breaks_its_rules_is_not_written() -> None:
    disk = new_disk()
    with pytest.raises(ValueError, match="overlap"):
        write_manifest(disk, "/db", replace(SAMPLE, tables=(table(1, 1), table(2, 1))))
    assert disk.files("/db") == []


def new_disk() -> CrashDisk:
    disk = CrashDisk()
    disk.mkdir("/db")
    disk.sync_dir("/")
    return disk


def test_a_manifest_is_missing_only_where_nothing_was_stored() -> None:  # FAULTS 14
    disk = new_disk()
    disk.create("/db/LOCK").close()
    disk.create("/db/a-1.tmp").close()
    assert read_manifest(disk, "/db") is None
    write_manifest(disk, "/db", SAMPLE)
    assert read_manifest(disk, "/db") == SAMPLE
    disk.unlink("/db/MANIFEST")
    for name in ("000007.sst", "000003.wal"):
        disk.create(f"/db/{name}").close()
        with pytest.raises(StoreCorrupt, match=r"/db/MANIFEST is missing.* such as " + name):
            read_manifest(disk, "/db")


def test_a_manifest_is_replaced_or_not_at_every_crash() -> None:  # FAULTS 10, 11
    older, newer = Manifest(STORE_ID), SAMPLE
    crashes = 0
    for midway in (False, True):
        for index in range(100):
            disk = new_disk()
            write_manifest(disk, "/db", older)
            disk.create("/db/MANIFEST.tmp").close()  # of a predecessor
            disk.crash_at(len(disk.operations) + index, "midway" if midway else "before")
            try:
                write_manifest(disk, "/db", newer)
            except Crash:
                crashes += 1
                for survival in SURVIVALS:
                    for seed in range(3):
                        left = CrashDisk(disk.image().power_cut(survival, seed))
                        assert read_manifest(left, "/db") in (older, newer)
                        write_manifest(left, "/db", newer)
                        assert read_manifest(left, "/db") == newer
                continue
            for survival in SURVIVALS:
                assert read_manifest(CrashDisk(disk.image().power_cut(survival)), "/db") == newer
            break
    assert crashes >= 8


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_dir"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_failed_replacement_is_told_and_can_be_done_again(kind: str, error: int) -> None:  # FAULTS 5, 7
    disk = new_disk()
    write_manifest(disk, "/db", Manifest(STORE_ID))
    disk.faults.append(Fault(kind, error))
    with pytest.raises(OSError, match=rf"\[Errno {error}\]"):
        write_manifest(disk, "/db", SAMPLE)
    assert read_manifest(disk, "/db") in (Manifest(STORE_ID), SAMPLE)
    write_manifest(disk, "/db", SAMPLE)
    assert read_manifest(disk, "/db") == SAMPLE
