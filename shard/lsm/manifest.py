"""The MANIFEST: which files make up the store, replaced whole and atomically. Layout: FORMAT.md, "MANIFEST".

Invariants: a directory with tables or segments in it has a MANIFEST; every file number in it is below ``next_file``;
below level 0 the tables of a level are sorted and disjoint; what the file holds is checked in full before any of it is
believed, and before it is written.
"""

import contextlib
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self, TypeAlias

import msgpack
from xxhash import xxh3_64_intdigest

from sherd.common.disk import Disk
from sherd.common.errors import StoreCorrupt, StoreFormat
from sherd.shard.lsm.format import (
    FORMAT_VERSION,
    KEY_BYTES_MAX,
    LSN_MAX,
    MANIFEST_BYTES_MAX,
    MANIFEST_CHECKSUM_BYTES,
    MANIFEST_HEADER_BYTES,
    MANIFEST_MAGIC,
    MANIFEST_NAME,
    MANIFEST_TEMPORARY_NAME,
    SEGMENT_SUFFIX,
    TABLE_SUFFIX,
    file_number,
)

LEVEL_MAX: Final = 15
STORE_ID_BYTES: Final = 16
TERMS_KEPT_MAX: Final = 1000  # older ones are forgotten: a follower that far behind starts anew

_Key: TypeAlias = bytes  # in the class below, ``bytes`` is a field


class _Damaged(Exception):
    """What is wrong with a manifest's content; turned into StoreCorrupt where the file's name is known."""


@dataclass(frozen=True, slots=True)
class TableMeta:
    """What is known of a live table without opening it. Keys are inclusive bounds; ``bytes`` is the file's size."""

    number: int
    level: int
    bytes: int
    entries: int
    tombstones: int
    expiring: int
    smallest: _Key
    largest: _Key
    min_lsn: int
    max_lsn: int

    def row(self) -> tuple[object, ...]:
        """The fields in their order, as a MANIFEST has them."""
        return (
            self.number,
            self.level,
            self.bytes,
            self.entries,
            self.tombstones,
            self.expiring,
            self.smallest,
            self.largest,
            self.min_lsn,
            self.max_lsn,
        )


@dataclass(frozen=True, slots=True)
class Drop:
    """A partition this shard once held: its entries below ``lsn`` never show again."""

    partition: int
    lsn: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The state of a store's directory. A file number is given out by raising ``next_file``, durably before use."""

    store_id: bytes
    """16 random bytes given at creation."""
    next_file: int = 1
    tables: tuple[TableMeta, ...] = ()
    """By level, below level 0 by key; within level 0 by age, the newest last."""
    first_segment: int = 0
    """Number of the lowest segment to replay; segments from here on are found by listing."""
    kept_segment: int = 0
    """Number of the lowest segment kept for followers; at most ``first_segment``."""
    flushed_lsn: int = 0
    """Everything up to here is in tables."""
    logged_ms: int = 0
    """Latest shard time in the part of the log that is in tables, so that time does not run backwards without it."""
    terms: tuple[tuple[int, int], ...] = ()
    """(term, its first LSN), ascending in both."""
    clean_lsn: int | None = None
    """After a clean close: the last LSN, which was durable. None while open and after a crash."""
    drops: tuple[Drop, ...] = ()
    partial: bool = False
    """A replica's store that was begun anew, and has not had all of its leader's since: it may lack what the replica
    has acknowledged before."""
    owner: str = ""
    """The cluster and the shard that the store belongs to, ``CLUSTER/SHARD``; empty for one that belongs to none."""

    @property
    def term(self) -> int:
        """The latest term, 0 before the first."""
        return self.terms[-1][0] if self.terms else 0

    def with_term(self, term: int, first_lsn: int) -> Self:
        """This manifest with ``term`` begun at ``first_lsn``; only the latest terms are kept."""
        return replace(self, terms=(*self.terms, (term, first_lsn))[-TERMS_KEPT_MAX:])

    def encode(self) -> bytes:
        """The whole file's bytes. ValueError if the content breaks its own rules."""
        try:
            _check(self)
        except _Damaged as error:
            raise ValueError(f"not a valid manifest: {error}") from error
        packed: bytes = msgpack.packb(self._body())
        if len(packed) > MANIFEST_BYTES_MAX:
            raise ValueError(f"a manifest of {len(packed)} bytes is over the limit of {MANIFEST_BYTES_MAX}")
        version = FORMAT_VERSION.to_bytes(4, "little")
        content = b"".join((MANIFEST_MAGIC, version, len(packed).to_bytes(4, "little"), packed))
        return content + xxh3_64_intdigest(content).to_bytes(MANIFEST_CHECKSUM_BYTES, "little")

    def _body(self) -> dict[str, object]:
        """The fields by name, in their order: it is part of the file's bytes."""
        return {
            "store_id": self.store_id,
            "next_file": self.next_file,
            "tables": [table.row() for table in self.tables],
            "first_segment": self.first_segment,
            "kept_segment": self.kept_segment,
            "flushed_lsn": self.flushed_lsn,
            "logged_ms": self.logged_ms,
            "terms": self.terms,
            "clean_lsn": self.clean_lsn,
            "drops": [(drop.partition, drop.lsn) for drop in self.drops],
            **({"partial": True} if self.partial else {}),
            **({"owner": self.owner} if self.owner else {}),
        }


def decode_manifest(data: bytes, name: str) -> Manifest:
    """The manifest in ``data``, all of it; ``name`` is for messages. Raises StoreCorrupt or StoreFormat."""
    if len(data) < MANIFEST_HEADER_BYTES + MANIFEST_CHECKSUM_BYTES:
        raise StoreCorrupt(f"{name} offset 0: {len(data)} bytes are too few for a MANIFEST")
    content = data[:-MANIFEST_CHECKSUM_BYTES]
    if xxh3_64_intdigest(content) != int.from_bytes(data[-MANIFEST_CHECKSUM_BYTES:], "little"):
        raise StoreCorrupt(f"{name} offset {len(content)}: the MANIFEST fails its checksum")
    if not content.startswith(MANIFEST_MAGIC):
        raise StoreFormat(f"{name} is not a MANIFEST of Sherd")
    version = int.from_bytes(content[8:12], "little")
    if version != FORMAT_VERSION:
        raise StoreFormat(f"{name} has format version {version}; this Sherd reads version {FORMAT_VERSION}")
    if int.from_bytes(content[12:16], "little") != len(content) - MANIFEST_HEADER_BYTES:
        raise StoreCorrupt(f"{name} offset 12: the MANIFEST's length does not agree with the file's size")
    try:
        manifest = _from_body(msgpack.unpackb(content[MANIFEST_HEADER_BYTES:]))
        _check(manifest)
    except (_Damaged, ValueError, msgpack.UnpackException) as error:
        raise StoreCorrupt(f"{name} offset {MANIFEST_HEADER_BYTES}: {error}") from error
    return manifest


def _from_body(body: Any) -> Manifest:
    """The unpacked map as a Manifest; shapes are checked here, values by ``_check``."""
    wanted = {field.name for field in fields(Manifest)}
    if not isinstance(body, dict) or {*map(str, body), "partial", "owner"} != wanted:
        raise _Damaged("the MANIFEST does not hold the fields of its version")
    values = dict(body)
    for name, width in (("tables", len(fields(TableMeta))), ("drops", len(fields(Drop))), ("terms", 2)):
        rows = values[name]
        if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == width for row in rows):
            raise _Damaged(f"{name} is not a list of rows of {width}")
    values["tables"] = tuple(TableMeta(*row) for row in values["tables"])
    values["drops"] = tuple(Drop(*row) for row in values["drops"])
    values["terms"] = tuple((row[0], row[1]) for row in values["terms"])
    return Manifest(**values)


def _number(value: object, what: str) -> None:
    if type(value) is not int or not 0 <= value <= LSN_MAX:
        raise _Damaged(f"{what} is not a number: {value!r}")


def _check(manifest: Manifest) -> None:
    """Everything that can be known to be wrong without looking at other files."""
    if type(manifest.store_id) is not bytes or len(manifest.store_id) != STORE_ID_BYTES:
        raise _Damaged(f"the store's id is not {STORE_ID_BYTES} bytes")
    for name in ("next_file", "first_segment", "kept_segment", "flushed_lsn", "logged_ms"):
        _number(getattr(manifest, name), name)
    if type(manifest.partial) is not bool:
        raise _Damaged(f"partial is neither true nor false: {manifest.partial!r}")
    if type(manifest.owner) is not str:
        raise _Damaged(f"owner is no text: {manifest.owner!r}")
    if manifest.clean_lsn is not None:
        _number(manifest.clean_lsn, "clean_lsn")
    if manifest.kept_segment > manifest.first_segment or manifest.first_segment > manifest.next_file:
        raise _Damaged("segment numbers are not in order")
    before = (-1, -1)
    for term, lsn in manifest.terms:
        _number(term, "term")
        _number(lsn, "first LSN of a term")
        if term <= before[0] or lsn <= before[1]:
            raise _Damaged("terms are not ascending")
        before = (term, lsn)
    for drop in manifest.drops:
        _number(drop.partition, "partition of a drop")
        _number(drop.lsn, "LSN of a drop")
    _check_tables(manifest)


def _check_tables(manifest: Manifest) -> None:
    numbers = set()
    previous: TableMeta | None = None
    for table in manifest.tables:
        for name in ("number", "level", "bytes", "entries", "tombstones", "expiring", "min_lsn", "max_lsn"):
            _number(getattr(table, name), f"{name} of a table")
        for key in (table.smallest, table.largest):
            if type(key) is not bytes or not 1 <= len(key) <= KEY_BYTES_MAX:
                raise _Damaged(f"a bound of table {table.number} is not a key")
        if table.smallest > table.largest or table.min_lsn > table.max_lsn:
            raise _Damaged(f"the bounds of table {table.number} are the wrong way round")
        if max(table.tombstones, table.expiring) > table.entries:
            raise _Damaged(f"table {table.number} contradicts itself")
        if table.level > LEVEL_MAX or not 0 < table.number < manifest.next_file or table.number in numbers:
            raise _Damaged(f"table {table.number} in level {table.level} cannot be")
        numbers.add(table.number)
        if previous is not None:
            _check_neighbours(previous, table)
        previous = table


def _check_neighbours(left: TableMeta, right: TableMeta) -> None:
    if left.level > right.level:
        raise _Damaged("tables are not sorted by level")
    if left.level == right.level > 0 and left.largest >= right.smallest:
        raise _Damaged(f"tables {left.number} and {right.number} of level {left.level} overlap")


def read_manifest(disk: Disk, directory: str) -> Manifest | None:
    """The manifest of ``directory``; None if there is none because nothing was ever stored there.

    StoreCorrupt if it is damaged, or missing beside tables or segments; StoreFormat if another version wrote it.
    """
    path = f"{directory}/{MANIFEST_NAME}"
    if not disk.exists(path):
        files = [
            name
            for name in sorted(disk.listdir(directory))
            if file_number(name, TABLE_SUFFIX) is not None or file_number(name, SEGMENT_SUFFIX) is not None
        ]
        if files:
            raise StoreCorrupt(f"{path} is missing, but {directory} holds {len(files)} data files such as {files[0]}")
        return None
    with contextlib.closing(disk.open_read(path)) as file:
        size = file.size()
        if size > MANIFEST_HEADER_BYTES + MANIFEST_BYTES_MAX + MANIFEST_CHECKSUM_BYTES:
            raise StoreCorrupt(f"{path} offset 0: {size} bytes are too many for a MANIFEST")
        return decode_manifest(file.pread(size, 0), path)


def write_manifest(disk: Disk, directory: str, manifest: Manifest) -> None:
    """Replace the MANIFEST durably.

    After an OSError either the old or the new one stands there, and which of them a power cut leaves is not known.
    """
    data = manifest.encode()
    temporary = f"{directory}/{MANIFEST_TEMPORARY_NAME}"
    if disk.exists(temporary):
        disk.unlink(temporary)
    file = disk.create(temporary)
    try:
        with contextlib.closing(file):
            file.write(data)
            file.sync()
    except OSError:
        with contextlib.suppress(OSError):
            disk.unlink(temporary)
        raise
    disk.rename(temporary, f"{directory}/{MANIFEST_NAME}")
    disk.sync_dir(directory)
