"""Makes a damaged, stopped store start again by giving up what is damaged: the work behind ``sherd verify --repair``.

- A table that is missing or fails a check is taken out of the MANIFEST and moved to quarantine: its keys show what
  older tables hold of them, or nothing.
- A log that recovery refuses is flushed up to the damage; the damaged segment and all later ones are moved to
  quarantine.
- A MANIFEST that cannot be read is rebuilt: all tables that verify are merged by LSN into the bottom level. Keys whose
  deletion had been compacted away may come back from tables that were about to be unlinked.

Wherever a repair is interrupted, it can be run again; until it is complete the store goes on refusing to start.
No LSN is given twice afterwards: the MANIFEST says that everything up to the highest LSN seen anywhere is flushed.
"""

import contextlib
import os
from dataclasses import replace

from sherd.common.disk import Disk
from sherd.common.errors import Corruption, StoreCorrupt, StoreError, StoreFormat
from sherd.shard.lsm.cache import BlockCache
from sherd.shard.lsm.format import (
    RECORD_TERM,
    SEGMENT_SUFFIX,
    TABLE_SUFFIX,
    TERM_LSN_STEP,
    file_number,
    segment_name,
    table_name,
)
from sherd.shard.lsm.installer import Installer
from sherd.shard.lsm.job_types import CompactJob, CompactResult, FlushJob, FlushResult, OutputTable
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.manifest import STORE_ID_BYTES, Manifest, TableMeta, read_manifest, write_manifest
from sherd.shard.lsm.memtable import Memtable
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.quarantine import save_file
from sherd.shard.lsm.recovery import remove_temporaries
from sherd.shard.lsm.replay import replay_body
from sherd.shard.lsm.segment_reader import SegmentReader
from sherd.shard.lsm.table import Table
from sherd.shard.lsm.verify import Finding, VerifyReport, check_log, check_table, live_segments
from sherd.shard.lsm.version import LEVELS

_BOTTOM = LEVELS - 1


class Repair:
    """One repair of one directory, whose LOCK is held. Fills in ``report``."""

    def __init__(self, directory: str, disk: Disk, options: EngineOptions, report: VerifyReport) -> None:
        self._directory = directory
        self._disk = disk
        self._options = options
        self._report = report
        self._incarnation = f"repair-{os.urandom(8).hex()}"
        self._job_id = 0

    def run(self) -> None:
        """Repair everything that is wrong."""
        remove_temporaries(self._disk, self._directory)
        rebuilt = False
        try:
            manifest = read_manifest(self._disk, self._directory)
        except StoreCorrupt as error:
            manifest = self._rebuild(error)
            rebuilt = True
        if manifest is None:
            raise StoreFormat(f"there is no store at {self._directory}")
        if not rebuilt:
            manifest = self._drop_tables(manifest)
        trial = VerifyReport(self._directory)
        check_log(self._directory, self._disk, manifest, trial)
        self._report.segments, self._report.records = trial.segments, trial.records
        self._report.notes += trial.notes
        if rebuilt or not trial.ok:
            self._rescue_log(manifest, chained=not rebuilt, damage=trial.findings)
        self._report.repaired = not self._report.ok

    def _highest_number(self) -> int:
        numbers = (
            file_number(name, suffix)
            for name in self._disk.listdir(self._directory)
            for suffix in (SEGMENT_SUFFIX, TABLE_SUFFIX)
        )
        return max((number for number in numbers if number is not None), default=0)

    def _next_id(self) -> int:
        self._job_id += 1
        return self._job_id

    def _done(self, file: str, message: str, done: str) -> None:
        self._report.add(file, message, fatal=True, done=done)

    # -- tables ------------------------------------------------------------------------------------------------------

    def _drop_tables(self, manifest: Manifest) -> Manifest:
        """Take tables that fail a check out of the directory and out of the MANIFEST."""
        found = VerifyReport(self._directory)
        good = [meta for meta in manifest.tables if check_table(self._directory, self._disk, meta, found)]
        self._report.tables, self._report.table_bytes = found.tables, found.table_bytes
        self._report.entries = found.entries
        if len(good) == len(manifest.tables):
            return manifest
        # Moved away before the MANIFEST forgets them: what it does not name, the next start would unlink.
        for finding in found.findings:
            self._done(finding.file, finding.message, self._put_away(finding.file))
        manifest = replace(manifest, tables=tuple(good))
        write_manifest(self._disk, self._directory, manifest)
        return manifest

    def _put_away(self, name: str) -> str:
        """Move a file to quarantine; says what was done."""
        if not self._disk.exists(f"{self._directory}/{name}"):
            return "taken out of the MANIFEST"
        return f"moved to {save_file(self._disk, self._directory, name)}"

    def _rebuild(self, error: StoreCorrupt) -> Manifest | None:
        """A MANIFEST of all tables that verify, merged into the bottom level; None if there is no data file at all."""
        highest = self._highest_number()
        if highest == 0:
            return None
        metas = [meta for meta in map(self._described, self._table_numbers()) if meta is not None]
        manifest = Manifest(store_id=os.urandom(STORE_ID_BYTES), next_file=highest + 1)
        installer = Installer(self._disk, self._directory, self._options, manifest, highest)
        with contextlib.closing(installer):
            added: list[TableMeta] = []
            if metas:
                job = CompactJob(
                    self._next_id(),
                    self._incarnation,
                    tuple((meta,) for meta in metas),
                    _BOTTOM,
                    (),
                    0,
                    self._options.table_bytes,
                )
                result = run_job(job, self._directory, self._disk, self._options)
                if isinstance(result, CompactResult):
                    added = self._named(installer, result.tables, _BOTTOM)
            flushed_lsn = max((meta.max_lsn for meta in metas), default=0)
            # Each start took TERM_LSN_STEP LSNs, so this is above every term there was.
            term = flushed_lsn // TERM_LSN_STEP + 1
            installer.replace_tables((), added, flushed_lsn=flushed_lsn, terms=((term, max(flushed_lsn, 1)),))
            installer.discard(table_name(meta.number) for meta in metas)
            self._done("MANIFEST", str(error), f"rebuilt from {len(metas)} tables; deleted keys may have come back")
            return installer.manifest

    def _table_numbers(self) -> list[int]:
        numbers = (file_number(name, TABLE_SUFFIX) for name in self._disk.listdir(self._directory))
        return sorted(number for number in numbers if number is not None)

    def _described(self, number: int) -> TableMeta | None:
        """What a MANIFEST would say of a table found in the directory; None, and put away, if it does not verify."""
        name = table_name(number)
        self._report.tables += 1
        try:
            with contextlib.closing(
                Table.open(self._disk, f"{self._directory}/{name}", number, BlockCache(0))
            ) as table:
                table.verify()
                properties = table.properties
        except (Corruption, StoreError) as error:
            self._done(name, str(error), self._put_away(name))
            return None
        self._report.table_bytes += properties.file_bytes
        self._report.entries += properties.entries
        return OutputTable(name, properties).meta(number, 0)

    def _named(self, installer: Installer, outputs: tuple[OutputTable, ...], level: int) -> list[TableMeta]:
        numbers = [installer.next_number() for _ in outputs]
        installer.name_tables([output.temporary for output in outputs], numbers)
        return [output.meta(number, level) for output, number in zip(outputs, numbers, strict=True)]

    # -- log ---------------------------------------------------------------------------------------------------------

    def _rescue_log(self, manifest: Manifest, *, chained: bool, damage: list[Finding]) -> None:
        """Flush the log up to its damage, and move the rest away. ``chained``: its LSNs must go on from the tables'."""
        installer = Installer(self._disk, self._directory, self._options, manifest, self._highest_number())
        with contextlib.closing(installer):
            walk = _LogWalk(self._directory, self._disk, manifest, chained)
            segments = live_segments(self._directory, self._disk, manifest)
            bad_from = len(segments)
            added: list[TableMeta] = []
            for index, number in enumerate(segments):
                end_lsn, whole = walk.segment(number)
                if end_lsn:
                    job = FlushJob(self._next_id(), self._incarnation, (number,), 0, end_lsn)
                    result = run_job(job, self._directory, self._disk, self._options)
                    if isinstance(result, FlushResult):
                        added += self._named(installer, result.tables, 0)
                if not whole:
                    bad_from = index
                    break
            for number in segments[bad_from + 1 :]:
                walk.look_at(number)
            installer.replace_tables(
                (),
                added,
                first_segment=0,
                kept_segment=0,
                flushed_lsn=walk.highest_lsn,
                logged_ms=max(manifest.logged_ms, walk.logged_ms),
                terms=tuple(walk.terms),
                clean_lsn=None,
            )
            saved = [self._put_away(segment_name(number)) for number in segments[bad_from:]]
            installer.drop_segments(segments[:bad_from])
            installer.unlink_unheld()
        for finding in damage:
            done = f"log ends at LSN {walk.last_lsn}; {len(saved)} segments moved to quarantine"
            self._done(finding.file, finding.message, done)


class _LogWalk:
    """Reads segments in order as recovery does, and remembers how far the log is good."""

    def __init__(self, directory: str, disk: Disk, manifest: Manifest, chained: bool) -> None:
        self._directory = directory
        self._disk = disk
        self._chained = chained
        self.terms = list(manifest.terms)
        self.last_lsn = manifest.flushed_lsn
        self.logged_ms = 0
        self.highest_lsn = max(manifest.flushed_lsn, manifest.clean_lsn or 0, *(lsn for _, lsn in manifest.terms), 0)

    def segment(self, number: int) -> tuple[int, bool]:
        """(the last LSN to flush from this segment or 0, whether it is good to its end)."""
        self.look_at(number)
        end_lsn = 0
        try:
            with SegmentReader.open(self._disk, f"{self._directory}/{segment_name(number)}", number) as reader:
                scratch = Memtable()
                for _, header, body in reader.records(self.last_lsn + 1 if self._chained else 0):
                    if self._chained and header.synced > self.last_lsn:
                        return end_lsn, False
                    term, time_ms = replay_body(body, scratch)
                    if header.flags & RECORD_TERM and (not self.terms or (term, header.first_lsn) > self.terms[-1]):
                        self.terms.append((term, header.first_lsn))
                    self.logged_ms = max(self.logged_ms, time_ms)
                    if header.last_lsn > self.last_lsn:
                        self.last_lsn = end_lsn = header.last_lsn
                return end_lsn, reader.verdict is not None and reader.verdict.clean
        except (Corruption, StoreError):
            return end_lsn, False

    def look_at(self, number: int) -> None:
        """Note the highest LSN of any header that verifies, damaged surroundings or not."""
        path = f"{self._directory}/{segment_name(number)}"
        with contextlib.suppress(StoreError), SegmentReader.open(self._disk, path, number) as reader:
            for _, header in reader.headers():
                self.highest_lsn = max(self.highest_lsn, header.last_lsn)
