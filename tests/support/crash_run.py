"""Runs a workload once, keeps the disk at every I/O point, and recovers each of them to check what was promised.

Every point is recovered after a kill, after a power cut that leaves only what was synced, and after power cuts that
leave some of the rest.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sherd.common.errors import Overloaded
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.options import EngineOptions
from support.crash_disk import CrashDisk, Operation
from support.disk_image import Image
from support.engine_run import (
    NOTHING,
    TINY,
    check_reads_agree,
    contents,
    open_engine,
    orphans,
    run_jobs,
    stage,
    sync,
)
from support.history import Change, History, Promise
from support.survival import SURVIVALS
from support.workload import ABSENT, KEYS, Step, value_of


@dataclass(frozen=True, slots=True)
class Moment:
    """The disk just before ``operation`` (or halfway through it, if ``torn``), and what had been promised by then."""

    operation: Operation
    torn: bool
    image: Image
    promise: Promise

    def __str__(self) -> str:
        return f"{'midway through' if self.torn else 'before'} {self.operation}"


@dataclass(slots=True)
class Run:
    """What was written, and the disk at each I/O point."""

    history: History
    options: EngineOptions = TINY
    moments: list[Moment] = field(default_factory=list)

    def watch(self, disk: CrashDisk, promise: Callable[[], Promise]) -> None:
        """From now on keep a ``Moment`` for every I/O point of ``disk``."""
        seen = -1

        def keep(operation: Operation, image: Image) -> None:
            nonlocal seen
            torn = operation.index == seen
            seen = operation.index
            self.moments.append(Moment(operation, torn, image, promise()))

        disk.on_moment = keep

    def end(self, disk: CrashDisk, promise: Promise) -> None:
        """Keep the disk as the run left it."""
        self.moments.append(Moment(Operation(len(disk.operations), "end", ""), False, disk.image(), promise))


def take(
    engine: Engine, history: History, changes: tuple[Change, ...], disk: CrashDisk, options: EngineOptions
) -> None:
    """Stage one call. If too much memory waits for its flush, do the background work and try again."""
    group = history.begin(changes)
    try:
        group.versions, group.last_lsn = stage(engine, list(changes))
    except Overloaded:
        run_jobs(engine, disk, options)
        group.versions, group.last_lsn = stage(engine, list(changes))


def run_engine(steps: Iterable[Step], options: EngineOptions = TINY) -> Run:
    """Play steps with explicit commits and syncs; what is durable is what the engine says is synced."""
    disk, history = CrashDisk(), History()
    run = Run(history, options)
    engine: Engine | None = None

    def promise() -> Promise:
        synced = 0 if engine is None else history.covered(engine.synced_lsn)
        return Promise(history.answered, min(synced, history.answered), len(history.groups))

    run.watch(disk, promise)
    engine = open_engine(disk, options)
    for step in steps:
        if step.kind == "write":
            take(engine, history, step.changes, disk, options)
        elif step.kind == "sync":
            sync(engine)
        elif step.kind == "work":
            run_jobs(engine, disk, options, step.jobs)
        else:
            if step.kind == "flush":
                engine.request_flush()
            elif step.kind == "compact":
                engine.request_compact()
            engine.commit()
            history.answer()
    engine.close(True)
    run.end(disk, Promise(history.answered, history.answered, history.answered))
    return run


def recover(image: Image, least: int, most: int, run: Run, where: str) -> int:
    """Open what is there, check all of it, and write on; the number of groups that came back."""
    disk = CrashDisk(image)
    engine = open_engine(disk, run.options, seed=1)
    found = contents(engine)
    came_back = run.history.check(found, least, most, where)
    check_reads_agree(engine, found, [key for key in (*KEYS, *ABSENT) if key not in found])
    assert orphans(disk) == [], where
    given_out = max((group.last_lsn for group in run.history.groups[:most]), default=0)
    served = disk.image()
    version = engine.put(KEYS[0], value_of(0, 10))
    assert version > given_out, f"{where}: version {version} was given out before"
    engine.commit()
    # What was served stays, even if the power goes before anything else is synced.
    again = open_engine(CrashDisk(served.power_cut(NOTHING)), run.options, seed=2)
    run.history.check(contents(again), came_back, came_back, f"{where}, recovered, power cut at once")
    return came_back


def images_after(moment: Moment, index: int, cuts: int) -> Iterator[tuple[str, Image, int]]:
    """What ``moment`` may leave behind: how, the disk, and how many groups must have survived.

    ``cuts`` of the adversary's ways are tried, in turn from moment to moment.
    """
    promise = moment.promise
    yield "kill", moment.image.copy(), promise.after_kill
    yield "power cut, nothing more", moment.image.power_cut(NOTHING), promise.after_power_cut
    for turn in range(cuts):
        survival = SURVIVALS[(index * cuts + turn) % len(SURVIVALS)]
        image = moment.image.power_cut(survival, seed=index)
        yield f"power cut, {survival}, seed {index}", image, promise.after_power_cut


def check_moments(run: Run, *, stride: int = 1, cuts: int = 2, offset: int = 0) -> int:
    """Recover every ``stride``-th moment of ``run``; how many recoveries that were."""
    count = 0
    for index in range(offset % stride, len(run.moments), stride):
        moment = run.moments[index]
        for how, image, least in images_after(moment, index, cuts):
            recover(image, least, moment.promise.started, run, f"{moment}; {how}")
            count += 1
    return count


def check_nested(run: Run, *, stride: int, cuts: int = 1, seed: int = 0) -> int:
    """Crash at every I/O point of the recovery of every ``stride``-th moment; how many recoveries that were."""
    count = 0
    dice = random.Random(seed)
    for index in range(0, len(run.moments), stride):
        moment = run.moments[index]
        how, image, least = dice.choice(list(images_after(moment, index, cuts)))
        disk = CrashDisk(image)
        inner = Run(run.history, run.options)
        promise = Promise(least, min(least, moment.promise.after_power_cut), moment.promise.started)
        inner.watch(disk, lambda promise=promise: promise)
        open_engine(disk, run.options, seed=3)
        for nested_index, nested in enumerate(inner.moments):
            for nested_how, nested_image, nested_least in images_after(nested, index + nested_index, cuts):
                where = f"{moment}; {how}; in recovery {nested}; {nested_how}"
                recover(nested_image, nested_least, promise.started, run, where)
                count += 1
    return count
