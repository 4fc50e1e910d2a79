"""Carries a plan out: connects, drives the load, and says what came of it."""

import contextlib
import select
import time
from pathlib import Path

from sherd.cli.bench.dialect import Dialect
from sherd.cli.bench.generator import Generator
from sherd.cli.bench.iproto_dialect import IprotoDialect
from sherd.cli.bench.key_choice import UNIFORM
from sherd.cli.bench.lane import Lane, connect
from sherd.cli.bench.msgpack_dialect import MsgpackDialect
from sherd.cli.bench.plan import Plan
from sherd.cli.bench.progress import Progress
from sherd.cli.bench.resp_dialect import RespDialect
from sherd.cli.bench.schedule import Schedule
from sherd.cli.bench.slots import Slots
from sherd.cli.bench.tally import Tally
from sherd.cli.bench.values import Values
from sherd.cli.bench.workload import Workload, mix_of

RECEIVE_BYTES = 1 << 18
TIMER_SLACK_NS = 1000


def dialect_of(plan: Plan, values: Values) -> Dialect:
    """One connection's end of the plan's protocol."""
    if plan.protocol == "iproto":
        return IprotoDialect(values, plan.space, plan.depth)
    return RespDialect(values) if plan.protocol == "resp" else MsgpackDialect(values)


def run(plan: Plan, progress: Progress) -> tuple[Tally, float, float]:
    """Drive the load: what was counted, over how many seconds, and how many of processor time they took here.

    ConnectionError if no server is reached or a connection is lost, TimeoutError if the server falls silent.
    """
    workload = Workload(
        mix_of(plan.workload, plan.read_share),
        UNIFORM if plan.is_load else plan.key_distribution,
        plan.keys,
        plan.scan_rows,
        plan.seed,
        plan.order if plan.is_load else None,
    )
    values = Values(plan.sizes, workload.random)
    tally = Tally()
    busy_before = 0.0

    def count() -> None:
        nonlocal busy_before
        busy_before = time.process_time()

    if plan.rate is not None:
        _wake_in_time()
    with contextlib.ExitStack() as stack:
        # The first descriptor of all: select, which watches it, takes none above 1023.
        poll = stack.enter_context(select.epoll())
        room = bytearray(RECEIVE_BYTES)
        lanes = []
        for i in range(plan.lanes):
            sock = stack.enter_context(connect(plan.addresses[i % len(plan.addresses)]))
            lanes.append(Lane(sock, i, Slots(plan.depth, plan.width), dialect_of(plan, values), room))
        schedule = None if plan.rate is None else Schedule(plan.rate, len(lanes))
        generator = Generator(poll, lanes, workload, tally, schedule)
        warmup = 0.0 if plan.is_load else plan.warmup
        generator.run(plan.duration, warmup, plan.requests_max, lambda: progress.show(tally.requests), count)
    return tally, (tally.last_reply - tally.began) / 1e9, time.process_time() - busy_before


def _wake_in_time() -> None:
    """Ask the kernel not to be late by its usual 50 us when it wakes this process up."""
    with contextlib.suppress(OSError):  # a system without this file wakes it up a little later
        Path("/proc/self/timerslack_ns").write_text(str(TIMER_SLACK_NS))
