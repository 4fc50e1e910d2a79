"""The numbers of the formats: the compiled modules' copy agrees, and file names read back."""

import importlib
import re
from pathlib import Path

import pytest

from sherd.shard.lsm import format as numbers
from sherd.shard.lsm.block import Block
from sherd.shard.lsm.block_builder import BlockBuilder
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.compaction import Survivors
from sherd.shard.lsm.cursor import Cursor
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import SEGMENT_SUFFIX, TABLE_SUFFIX, file_number, segment_name, table_name
from sherd.shard.lsm.level_cursor import LevelCursor
from sherd.shard.lsm.log_run import LogRun
from sherd.shard.lsm.merge import MergeCursor
from sherd.shard.lsm.pauses import Pauses
from sherd.shard.lsm.record import RecordBuilder
from sherd.shard.lsm.record_body import OpReader
from sherd.shard.lsm.segment_scan import RecordHeader, RecordScanner
from sherd.shard.lsm.table import Table, TableCursor
from sherd.shard.lsm.table_writer import TableWriter

pytestmark = pytest.mark.core


def test_compiled_constants_say_the_same() -> None:
    text = Path(str(numbers.__file__)).with_suffix(".pxd").read_text()
    found = dict(re.findall(r"^    (\w+) = (\w+)$", text, re.MULTILINE))
    assert len(found) > 20
    for name, value in found.items():
        assert getattr(numbers, name) == int(value, 0), name


@pytest.mark.parametrize(
    "kind",
    [
        *(RecordBuilder, OpReader, RecordHeader, RecordScanner, Entry, Cursor, Block, BlockBuilder, BlockCache),
        *(Table, TableCursor, TableWriter, LevelCursor, MergeCursor, Survivors, LogRun, Pauses),
    ],
)
def test_compiled_classes_are_extension_types(kind: type) -> None:
    """A .pxd that is not found is ignored in silence; then a class has a dict, and its calls are slow."""
    compiled = importlib.import_module(kind.__module__).__file__ or ""
    assert hasattr(kind, "__dictoffset__")
    assert (kind.__dictoffset__ == 0) == (not compiled.endswith(".py"))


def test_flags_and_kinds_do_not_overlap() -> None:
    assert numbers.KIND_MASK & (numbers.KIND_HAS_EXPIRY | numbers.KIND_SEPARATED) == 0
    assert {numbers.SEGMENT_MAGIC, numbers.TABLE_MAGIC, numbers.MANIFEST_MAGIC} == {
        magic for magic in vars(numbers).values() if isinstance(magic, bytes) and len(magic) == numbers.MAGIC_BYTES
    }


@pytest.mark.parametrize("number", [0, 1, 42, 999_999, 1_000_000, 2**40])
def test_names_read_back(number: int) -> None:
    assert file_number(segment_name(number), SEGMENT_SUFFIX) == number
    assert file_number(table_name(number), TABLE_SUFFIX) == number
    assert file_number(table_name(number), SEGMENT_SUFFIX) is None


@pytest.mark.parametrize(
    "name", ["42.wal", "0000042.wal", "000042.wal.tmp", "-00042.wal", "00 042.wal", ".wal", "٠٠٠٠٤٢.wal", "000042", ""]
)
def test_other_names_are_not_ours(name: str) -> None:
    assert file_number(name, SEGMENT_SUFFIX) is None
