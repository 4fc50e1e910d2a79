"""Every number of the on-disk formats, in one place; the layouts they belong to stand in FORMAT.md.

A number written here is never reused for another meaning. All integers on disk are little-endian; a varint is
unsigned LEB128 in its shortest form. Every file keeps its magic in bytes 0-7 and its format version in bytes 8-11
(u32), in every version to come. Checksums are xxh3_64. Compiled modules take the constants from format.pxd, which
says the same (a test compares the two).
"""

from typing import Final

FORMAT_VERSION: Final = 1

MAGIC_BYTES: Final = 8
SEGMENT_MAGIC: Final = b"SherdWal"
TABLE_MAGIC: Final = b"SherdTab"
MANIFEST_MAGIC: Final = b"SherdMan"

# Names in a data directory. File numbers come from one counter kept in the MANIFEST and are never reused.
LOCK_NAME: Final = "LOCK"
MANIFEST_NAME: Final = "MANIFEST"
MANIFEST_TEMPORARY_NAME: Final = "MANIFEST.tmp"
COPY_NAME: Final = "copy"
QUARANTINE_NAME: Final = "quarantine"
SEGMENT_SUFFIX: Final = ".wal"
TABLE_SUFFIX: Final = ".sst"
TEMPORARY_SUFFIX: Final = ".tmp"
FILE_NUMBER_DIGITS: Final = 6

# What an entry or an operation is. The low five bits are the kind; the bits above say what follows it.
KIND_PUT: Final = 1
KIND_DELETE: Final = 2
KIND_IMPORT: Final = 3
KIND_MASK: Final = 0x1F
KIND_HAS_EXPIRY: Final = 0x80  # an expiry_ms u64 follows
KIND_SEPARATED: Final = 0x40  # reserved: the value stands elsewhere, a reference stands in its place

# Limits the decoders hold their input to.
KEY_BYTES_MAX: Final = 4096
VALUE_BYTES_MAX: Final = (1 << 32) - 1
LSN_MAX: Final = (1 << 64) - 1
VARINT_BYTES_MAX: Final = 5  # of a length: up to 2^32 - 1

# WAL segment
SEGMENT_HEADER_BYTES: Final = 64
SEGMENT_CHECKED_BYTES: Final = 56  # the header's checksum covers these
RECORD_ALIGN: Final = 16
RECORD_HEADER_BYTES: Final = 48
RECORD_CHECKED_BYTES: Final = 40  # the header's checksum covers these
RECORD_BODY_HEAD_BYTES: Final = 28
STAGE_OVERHEAD_BYTES: Final = 128  # most that an operation adds to a log beside its key and value
RECORD_SPLIT_BYTES: Final = 1 << 20  # a record this large is closed, unless it is within a client's batch
RECORD_TERM: Final = 1  # starts a term; holds no operation and takes one LSN of its own
RECORD_CLOSE: Final = 2  # the last record before a clean close; empty
RECORD_JUMP: Final = 4  # reserved: leaves a gap of LSNs like a term record, without a new term
RECORD_FLAGS_KNOWN: Final = RECORD_TERM | RECORD_CLOSE | RECORD_JUMP
TERM_LSN_STEP: Final = 1 << 32  # a term record stands this far above the last LSN before it

# Table
BLOCK_TRAILER_BYTES: Final = 9  # compression u8, checksum u64
COMPRESSION_NONE: Final = 0
COMPRESSION_LZ4: Final = 1
COMPRESSION_ZSTD: Final = 2
ENTRY_OFFSET_BYTES: Final = 4  # each of the u32 entry offsets at a block's end
BLOCK_COUNT_BYTES: Final = 4  # the u32 that ends a block
TABLE_HEADER_BYTES: Final = 32
TABLE_FOOTER_BYTES: Final = 128

# MANIFEST
MANIFEST_HEADER_BYTES: Final = 16
MANIFEST_CHECKSUM_BYTES: Final = 8
MANIFEST_BYTES_MAX: Final = 256 << 20


def segment_name(number: int) -> str:
    """The file name of log segment ``number``: ``000042.wal``."""
    return f"{number:0{FILE_NUMBER_DIGITS}d}{SEGMENT_SUFFIX}"


def table_name(number: int) -> str:
    """The file name of table ``number``: ``000037.sst``."""
    return f"{number:0{FILE_NUMBER_DIGITS}d}{TABLE_SUFFIX}"


def file_number(name: str, suffix: str) -> int | None:
    """The number in a file name made by ``segment_name`` or ``table_name``; None if it is not such a name."""
    stem = name.removesuffix(suffix)
    if stem == name or not (stem.isascii() and stem.isdigit()):
        return None
    number = int(stem)
    return number if f"{number:0{FILE_NUMBER_DIGITS}d}" == stem else None
