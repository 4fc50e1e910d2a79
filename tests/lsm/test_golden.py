"""The golden files: this version writes them byte for byte, and reads what they say."""

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from sherd.common.disk import RealDisk
from sherd.shard.lsm.bloom import hash_key
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.format import KIND_DELETE, KIND_IMPORT, KIND_PUT, RECORD_TERM, SEGMENT_MAGIC
from sherd.shard.lsm.manifest import read_manifest
from sherd.shard.lsm.record_body import Op, RecordBody, decode_body
from sherd.shard.lsm.segment_reader import Reason, SegmentReader
from sherd.shard.lsm.table import Table

pytestmark = pytest.mark.core

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden"
TERM_LSN = 1 << 32
TIME_MS = 1_700_000_000_000

# Of the files themselves, so that nobody changes a file and its maker together without noticing.
DIGESTS = {
    "000042.wal": "9d8ee4a7f6f397d842331c91a2a4f292ca1ec8d33b53afd00f3dafd80628f6d4",
    "MANIFEST": "83927af2fb8cec14d48ae97251cb53e97873fe39384cc58d5a3c9c1f9b6e8852",
    "000037.sst": "1974acadf31f0a8db4348de47fb2d3d9f727f20f3e48a6fdff5c1036a6553129",
}


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", HERE / "make_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_the_ones_that_were_released() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in GOLDEN.iterdir()}
    assert found == DIGESTS


def test_this_version_writes_them_byte_for_byte(tmp_path: Path) -> None:
    written = maker().write_golden(tmp_path)
    assert set(written) == set(DIGESTS)
    for name, path in written.items():
        assert path.read_bytes() == (GOLDEN / name).read_bytes(), name


def test_what_the_segment_says() -> None:
    with SegmentReader.open(RealDisk(), str(GOLDEN / "000042.wal"), 42) as reader:
        found = [(header.flags, header.synced, decode_body(body)) for _, header, body in reader.records(18)]
        assert reader.header.salt == 0x0123456789ABCDEF
        assert reader.verdict is not None
        assert (reader.verdict.reason, reader.verdict.missing_lsn) == (Reason.END, TERM_LSN + 6)
    ops = [
        Op(KIND_PUT, b"apple", 0, 0, b"\xa3red"),
        Op(KIND_PUT, b"pear", TIME_MS + 60_000, 0, b"\xa5green"),
        Op(KIND_DELETE, b"plum", 0, 0, None),
        Op(KIND_IMPORT, b"quince", 0, 77, b"\xa6yellow"),
        Op(KIND_IMPORT, b"q" * 200, TIME_MS + 1, 1 << 40, b"\xc4\xc8" + bytes(200)),
    ]
    assert found == [
        (RECORD_TERM, 17, RecordBody(3, TERM_LSN, TIME_MS, [])),
        (0, TERM_LSN, RecordBody(3, TERM_LSN + 1, TIME_MS + 5, ops)),
        (0, TERM_LSN + 5, RecordBody(3, TERM_LSN + 6, TIME_MS + 9, [])),
    ]


def test_the_segment_field_by_field() -> None:
    """Positions as FORMAT.md gives them, read without any code of the engine."""
    data = (GOLDEN / "000042.wal").read_bytes()

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    assert data[:8] == SEGMENT_MAGIC == b"SherdWal"
    assert [number(at, size) for at, size in ((8, 4), (12, 4), (16, 8), (24, 8))] == [1, 64, 42, 0x0123456789ABCDEF]
    assert data[32:56] == bytes(24)
    assert [number(64 + at, 4) for at in (0, 4)] == [28, 1]
    assert [number(64 + at, 8) for at in (8, 16, 24)] == [TERM_LSN, TERM_LSN, 17]
    body = 64 + 48
    assert [number(body + at, size) for at, size in ((0, 8), (8, 8), (16, 4), (20, 8))] == [3, TERM_LSN, 0, TIME_MS]
    assert data[body + 28 : 144] == bytes(4)
    assert data[144 + 48 + 28 :].startswith(b"\x01\x05apple\x04\xa3red\x81\x04pear")


def test_what_the_manifest_says() -> None:
    manifest = read_manifest(RealDisk(), str(GOLDEN))
    assert manifest is not None
    assert (manifest.store_id, manifest.next_file, manifest.term) == (bytes(range(16)), 43, 3)
    assert (manifest.first_segment, manifest.kept_segment, manifest.clean_lsn) == (42, 40, TERM_LSN + 106)
    assert [(table.number, table.level, table.smallest) for table in manifest.tables] == [
        (37, 0, b"apple"),
        (31, 1, b"a"),
        (32, 1, b"n"),
        (20, 2, b"\0"),
    ]


def test_what_the_table_says() -> None:
    table = Table.open(RealDisk(), str(GOLDEN / "000037.sst"), 37, BlockCache(1 << 20))
    try:
        table.verify()
        assert (table.properties.entries, table.properties.tombstones, table.properties.expiring) == (22, 1, 4)
        for key, lsn, kind, expiry_ms, value in (
            (b"key005", TERM_LSN + 5, KIND_PUT, TIME_MS + 5, b"\xb4value number 000005"),
            (b"key006", TERM_LSN + 6, KIND_PUT, 0, b"\xb4value number 000006"),
            (b"plum", TERM_LSN + 100, KIND_DELETE, 0, None),
            (b"quince", TERM_LSN + 50, KIND_IMPORT, 0, b"\xa6yellow"),
        ):
            entry = table.get(key, hash_key(key))
            assert entry is not None
            assert (entry.lsn, entry.kind, entry.expiry_ms, entry.value) == (lsn, kind, expiry_ms, value)
        assert table.get(b"nobody", hash_key(b"nobody")) is None
    finally:
        table.close()
