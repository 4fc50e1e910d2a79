"""Checks every checksum of a stopped store, and repairs what can be repaired: ``sherd verify DIR [--repair]``.

Checking changes nothing. It reads the MANIFEST, every byte of every live table, and every record of the live log, and
asks recovery whether it would start. Repairing (repair.py) gives up what is damaged, so that the rest can be served: it
is for a store that has no replica. Whatever it takes out of use is moved to quarantine/, never deleted.
"""

import contextlib
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreCorrupt, StoreError, StoreFormat
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.format import SEGMENT_SUFFIX, file_number, segment_name, table_name
from sherd.shard.lsm.manifest import Manifest, TableMeta, read_manifest
from sherd.shard.lsm.opening import as_store_errors, lock_directory
from sherd.shard.lsm.options import DEFAULTS, EngineOptions
from sherd.shard.lsm.quarantine import quarantined
from sherd.shard.lsm.recovery import Recovery
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.table import Table

if TYPE_CHECKING:
    from sherd.shard.lsm.engine import Engine


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``fatal``: the store refuses to start because of it. ``done``: what repair did."""

    file: str
    message: str
    fatal: bool
    done: str = ""


@dataclass(slots=True)
class VerifyReport:
    """What was looked at and what was found. ``ok``: nothing is wrong but what recovery may lawfully cut."""

    directory: str
    tables: int = 0
    table_bytes: int = 0
    entries: int = 0
    segments: int = 0
    records: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is lawful but worth knowing, such as a torn end of the log."""
    quarantined: tuple[str, ...] = ()
    repaired: bool = False

    @property
    def ok(self) -> bool:
        return not self.findings

    def to_dict(self) -> dict[str, object]:
        """As a JSON-able map."""
        return {**asdict(self), "ok": self.ok}

    def add(self, file: str, message: str, *, fatal: bool, done: str = "") -> None:
        self.findings.append(Finding(file, message, fatal, done))


def verify_directory(
    directory: str, disk: Disk, *, repair: bool = False, options: EngineOptions | None = None
) -> VerifyReport:
    """Check the stopped store in ``directory``; with ``repair``, give up what is damaged so that it starts again.

    StoreLocked if it is open, StoreFormat if it is no store or of another version, StoreFull and OSError as they come.
    ``options`` say how tables are written where a repair has to write some.
    """
    from sherd.shard.lsm.repair import Repair

    with as_store_errors(directory):
        lock = lock_directory(disk, directory, read_only=not repair)
        try:
            report = VerifyReport(directory)
            if repair:
                Repair(directory, disk, options or EngineOptions(), report).run()
            else:
                _check(directory, disk, report)
            report.quarantined = quarantined(disk, directory)
            return report
        finally:
            if lock is not None:
                lock.release()


def verify_open(engine: "Engine") -> VerifyReport:
    """Check every byte of the tables of an open engine; the log is checked when it is replayed or flushed."""
    report = VerifyReport(engine.directory)
    for level in engine.installer.version.metas():
        for meta in level:
            check_table(engine.directory, engine.disk, meta, report)
    report.quarantined = quarantined(engine.disk, engine.directory)
    return report


def _check(directory: str, disk: Disk, report: VerifyReport) -> None:
    try:
        manifest = read_manifest(disk, directory)
    except StoreCorrupt as error:
        report.add("MANIFEST", str(error), fatal=True)
        return
    if manifest is None:
        raise StoreFormat(f"there is no store at {directory}")
    for meta in manifest.tables:
        check_table(directory, disk, meta, report)
    check_log(directory, disk, manifest, report)


def check_table(directory: str, disk: Disk, meta: TableMeta, report: VerifyReport) -> bool:
    """Read all of one table, past the cache; False, and a finding, if anything in it is wrong."""
    name = table_name(meta.number)
    path = f"{directory}/{name}"
    report.tables += 1
    try:
        if not disk.exists(path):
            raise StoreCorrupt(f"{path} is missing")
        table = Table.open(disk, path, meta.number, BlockCache(0))
        with contextlib.closing(table):
            if table.properties.file_bytes != meta.bytes or table.properties.entries != meta.entries:
                raise StoreCorrupt(f"{path} is not the table that the MANIFEST lists under its number")
            table.verify()
    except (Corruption, StoreError) as error:
        fatal = not disk.exists(path) or _size(disk, path) != meta.bytes
        report.add(name, f"{error}; keys {meta.smallest!r} to {meta.largest!r}", fatal=fatal)
        return False
    report.table_bytes += meta.bytes
    report.entries += meta.entries
    return True


def _size(disk: Disk, path: str) -> int:
    with contextlib.closing(disk.open_read(path)) as file:
        return file.size()


def live_segments(directory: str, disk: Disk, manifest: Manifest) -> list[int]:
    """Numbers of the segments that recovery replays, in order."""
    numbers = (file_number(name, SEGMENT_SUFFIX) for name in disk.listdir(directory))
    return sorted(number for number in numbers if number is not None and number >= manifest.first_segment)


def check_log(directory: str, disk: Disk, manifest: Manifest, report: VerifyReport) -> None:
    """Read all records, and ask recovery for its judgement without letting it change anything."""
    for number in live_segments(directory, disk, manifest):
        report.segments += 1
        name = segment_name(number)
        try:
            with SegmentReader.open(disk, f"{directory}/{name}", number) as reader:
                report.records += sum(1 for _ in reader.records())
                verdict = reader.verdict
        except StoreError as error:
            report.add(name, str(error), fatal=True)
            continue
        if verdict is not None and not verdict.clean:
            report.notes.append(f"{name} offset {verdict.offset}: {verdict.reason.value}")
    if any(finding.file.endswith(SEGMENT_SUFFIX) for finding in report.findings):
        return
    log_only = replace(manifest, tables=())  # tables were checked on their own
    try:
        Recovery(disk, directory, log_only, DEFAULTS.memtable_bytes, read_only=True).run()
    except StoreCorrupt as error:
        report.add("log", str(error), fatal=True)
