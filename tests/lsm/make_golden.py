"""Writes the golden files: one small file of each format, byte for byte what this version must read and write.

Run from the root when a format version is added, never to make a failing test pass:
``python tests/lsm/make_golden.py`` writes what is missing and refuses to change what is there.
"""

import sys
import tempfile
from pathlib import Path

from sherd.common.disk import RealDisk
from sherd.shard.lsm.format import SEGMENT_HEADER_BYTES
from sherd.shard.lsm.manifest import Drop, Manifest, TableMeta
from sherd.shard.lsm.record import RecordBuilder, empty_record, term_record
from sherd.shard.lsm.segment import SegmentHeader
from sherd.shard.lsm.table_writer import TableOptions, TableWriter

GOLDEN = Path(__file__).resolve().parent / "golden"
SALT = 0x0123456789ABCDEF
TERM_LSN = 1 << 32
TIME_MS = 1_700_000_000_000


def segment() -> bytes:
    """A term record, a turn of each kind of operation, an idle record, zeros."""
    builder = RecordBuilder(TERM_LSN + 1)
    builder.append_put(b"apple", b"\xa3red", 0)
    builder.append_put(b"pear", b"\xa5green", TIME_MS + 60_000)
    builder.append_delete(b"plum")
    builder.append_import(b"quince", b"\xa6yellow", 0, 77)
    builder.append_import(b"q" * 200, b"\xc4\xc8" + bytes(200), TIME_MS + 1, 1 << 40)
    data = b"".join(
        (
            SegmentHeader(42, SALT).encode(),
            term_record(3, TERM_LSN, 17, TIME_MS, SALT),
            builder.seal(3, TERM_LSN, TIME_MS + 5, SALT),
            empty_record(3, TERM_LSN + 6, TERM_LSN + 5, TIME_MS + 9, SALT),
        )
    )
    return data.ljust(SEGMENT_HEADER_BYTES + 1024, b"\0")


def manifest() -> bytes:
    """Tables in three levels, terms, a drop position, a clean close."""
    return Manifest(
        bytes(range(16)),
        next_file=43,
        tables=(
            TableMeta(37, 0, 4096, 100, 10, 3, b"apple", b"quince", TERM_LSN + 1, TERM_LSN + 100),
            TableMeta(31, 1, 5000, 120, 0, 0, b"a", b"m", 5, 900),
            TableMeta(32, 1, 5001, 121, 0, 0, b"n", b"z\xff", 6, 901),
            TableMeta(20, 2, 1 << 20, 9999, 0, 0, b"\0", b"\xff" * 9, 1, 4),
        ),
        first_segment=42,
        kept_segment=40,
        flushed_lsn=TERM_LSN + 100,
        logged_ms=TIME_MS,
        terms=((1, 1), (3, TERM_LSN)),
        clean_lsn=TERM_LSN + 106,
        drops=(Drop(5, 1000),),
    ).encode()


def write_table(path: Path) -> None:
    """Several uncompressed blocks: puts, a tombstone, expiring entries, an import."""
    file = RealDisk().create(str(path))
    try:
        writer = TableWriter(file, TableOptions(block_bytes=256, compression="none", bloom_bits_per_key=10), SALT)
        for i in range(20):
            writer.add(b"key%03d" % i, TERM_LSN + i, 1, TIME_MS + i if i % 5 == 0 else 0, b"\xb4value number %06d" % i)
        writer.add(b"plum", TERM_LSN + 100, 2, 0, b"")
        writer.add(b"quince", TERM_LSN + 50, 3, 0, b"\xa6yellow")
        writer.finish()
    finally:
        file.close()


def write_golden(folder: Path) -> dict[str, Path]:
    """Write every golden file into ``folder``; returns them by name."""
    found = {name: folder / name for name in ("000042.wal", "MANIFEST", "000037.sst")}
    found["000042.wal"].write_bytes(segment())
    found["MANIFEST"].write_bytes(manifest())
    write_table(found["000037.sst"])
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_golden(Path(folder)).items():
            target = GOLDEN / name
            if not target.exists():
                target.write_bytes(path.read_bytes())
                print(f"wrote {target.name}")
            elif target.read_bytes() != path.read_bytes():
                print(f"{name} would change; a released format does not: add a version instead", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
