"""Runs a workload once, keeps the disk at every I/O point, and recovers each of them to check what was promised.

Every point is recovered after a kill, after a power cut that leaves only what was synced, and after power cuts that
leave some of the rest.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from sherd.common.clock import ManualClock
from sherd.common.errors import Overloaded
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.jobs import run_job
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.lsm.steps import Steps
from sherd.shard.lsm.store import Store
from support.crash_disk import CrashDisk, Operation
from support.disk_image import Image
from support.engine_run import (
    DIRECTORY,
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


class SlowInstaller:
    """Puts results in place as a shard does: one piece of disk work at a time, with writes in between."""

    def __init__(self, engine: Engine, disk: CrashDisk, options: EngineOptions) -> None:
        self._engine = engine
        self._disk = disk
        self._options = options
        self._steps: Steps[None] | None = None

    def advance(self) -> bool:
        """Do one piece, of the result at hand or of the next job's; False if nothing is due."""
        if self._steps is None:
            job = self._engine.next_job()
            if job is None:
                return False
            self._steps = self._engine.installing(job, run_job(job, DIRECTORY, self._disk, self._options))
        try:
            next(self._steps)()
        except StopIteration:
            self._steps = None
        return True


def take(engine: Engine, history: History, changes: tuple[Change, ...], installer: SlowInstaller) -> None:
    """Stage one call. If too much memory waits for its flush, do the background work and try again."""
    group = history.begin(changes)
    try:
        group.versions, group.last_lsn = stage(engine, list(changes))
    except Overloaded:
        while installer.advance():
            pass
        group.versions, group.last_lsn = stage(engine, list(changes))


def run_engine(steps: Iterable[Step], options: EngineOptions = TINY, *, slowly: bool = False) -> Run:
    """Play steps with explicit commits and syncs; what is durable is what the engine says is synced.

    ``slowly``: background work goes on a piece at a time before each step, and all of it is done when told to.
    """
    disk, history = CrashDisk(), History()
    run = Run(history, options)
    engine: Engine | None = None

    def promise() -> Promise:
        synced = 0 if engine is None else history.covered(engine.synced_lsn)
        return Promise(history.answered, min(synced, history.answered), len(history.groups))

    run.watch(disk, promise)
    engine = open_engine(disk, options)
    installer = SlowInstaller(engine, disk, options)
    for step in steps:
        if slowly:
            installer.advance()
        if step.kind == "write":
            take(engine, history, step.changes, installer)
        elif step.kind == "sync":
            sync(engine)
        elif step.kind == "work" and slowly:
            installer.advance()
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


def call_store(store: Store, changes: tuple[Change, ...]) -> list[int]:
    """One call of ``Store``: put, delete or batch, by how many changes there are."""
    if len(changes) > 1:
        operations: list[tuple[Any, ...]] = [
            ("delete", key) if value is None else ("put", key, msgpack.unpackb(value)) for key, value in changes
        ]
        return [int(answer) for answer in store.batch(operations)]
    key, value = changes[0]
    if value is None:
        return [int(store.delete(key))]
    return [store.put(key, msgpack.unpackb(value))]


def run_store(steps: Iterable[Step], fsync: str) -> Run:
    """Play steps on a ``Store``; what must survive a power cut is what its fsync policy promises."""
    options = replace(TINY, fsync=fsync)
    policy = options.fsync_policy
    disk, history, clock = CrashDisk(), History(), ManualClock()
    run = Run(history, options)
    store: Store | None = None

    def durable() -> int:
        """Groups that a power cut must leave, by the policy, and by what the engine says was synced."""
        synced = 0 if store is None else history.covered(store._engine.synced_lsn)
        if policy.mode == "always":
            return history.answered
        if policy.mode == "ops":
            return max(synced, history.all_but_operations(policy.ops))
        return synced

    def promise() -> Promise:
        return Promise(history.answered, min(durable(), history.answered), len(history.groups))

    run.watch(disk, promise)
    store = Store.open(DIRECTORY, options=options, disk=disk, clock=clock)
    for step in steps:
        if step.kind == "write":
            group = history.begin(step.changes)
            group.versions = call_store(store, step.changes)
            group.last_lsn = store._engine.last_lsn
            history.answer(clock.monotonic())
            if policy.mode == "interval":
                late = history.answered_by(clock.monotonic() - policy.interval_seconds)
                assert history.covered(store._engine.synced_lsn) >= late, "older than the interval and not synced"
        elif step.kind == "flush":
            store.flush()
        elif step.kind == "compact":
            store.compact()
        elif step.kind == "wait":
            clock.advance(step.seconds)
    store.close()
    run.end(disk, Promise(history.answered, history.answered, history.answered))
    return run
