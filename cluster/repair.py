"""Comparing a shard's replicas by their digests, and having those that differ made anew from their leader.

Only decides and asks; how a question reaches a replica is handed in. The leader is what others are compared with: its
store is never given up. A follower that differs is not told to begin anew by us but by its leader, once nobody counts
it in sync (``Feeds.rebuild``); so all of this may break off anywhere, and be run again.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sherd.common.clock import Clock
from sherd.common.errors import Corruption, NotLeader, Overloaded, SherdError, Timeout, Unavailable, WireError
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId

ATTEMPTS = 5
PAUSE_SECONDS = 0.5
WAIT_SECONDS = 0.02
REACH_SECONDS_MAX = 30.0
"""How long a follower may take to come to the LSN at which it is to be compared."""
REBUILD_SECONDS_MAX = 3600.0
_PASSING = (NotLeader, Overloaded, Timeout, Unavailable)

Ask = Callable[[int, str, str, list[Any]], Any]
"""(shard, replica, method, params): that replica's answer. Raises WireError, and OSError if nobody is there."""
Tell = Callable[[int, str, int], None]
"""(shard, replica, entries): so many entries of it have been digested."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one follower. ``differing`` are the positions, in token order, of the ranges of ``ranges`` that
    are not as its leader's at ``lsn``. ``error``: why it could not be compared; ``damaged`` if that is why.
    """

    shard: int
    follower: str
    lsn: int = 0
    ranges: int = 0
    entries: int = 0
    differing: tuple[int, ...] = ()
    error: str = ""
    damaged: bool = False
    rebuilt: bool = False

    @property
    def equal(self) -> bool:
        return not self.error and not self.differing

    @property
    def wants_rebuild(self) -> bool:
        return bool(self.differing) or self.damaged


@dataclass(slots=True)
class _Walk:
    """One replica's way through its digest."""

    rows: list[tuple[int, int]] | None = None
    error: str = ""
    damaged: bool = False

    @property
    def open(self) -> bool:
        return self.rows is None and not self.error


class Repair:
    """Compares and mends one cluster. ``topology`` reads the topology as it is now."""

    def __init__(
        self,
        ask: Ask,
        topology: Callable[[], Topology],
        clock: Clock,
        tell: Tell = lambda shard, replica, entries: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask = ask
        self._topology = topology
        self._clock = clock
        self._tell = tell
        self._sleep = sleep

    def compare(self, shard: ShardId) -> list[Verdict]:
        """A verdict on each follower of a shard. What passes by itself is tried again; SherdError if it does not."""
        attempt = 0
        while True:
            attempt += 1
            try:
                verdicts = self._compare_once(self._topology().shards[shard])
            except _PASSING:
                if attempt == ATTEMPTS:
                    raise
            else:
                if attempt == ATTEMPTS or not any(verdict.error and not verdict.damaged for verdict in verdicts):
                    return verdicts
            self._sleep(PAUSE_SECONDS)

    def mend(self, shard: ShardId) -> list[Verdict]:
        """Compare, have those begin anew that differ or are damaged, and compare again."""
        verdicts = self.compare(shard)
        rebuilt = {verdict.follower for verdict in verdicts if verdict.wants_rebuild}
        if not rebuilt:
            return verdicts
        for name in sorted(rebuilt):
            self._rebuild(shard, name)
        return [replace(verdict, rebuilt=verdict.follower in rebuilt) for verdict in self.compare(shard)]

    def _compare_once(self, state: ShardState) -> list[Verdict]:
        if not state.followers:
            return []
        match self._ask(state.id, state.leader, "compare", []):
            case [int(number), int(lsn), int(time_ms), list(starts)]:
                pass
            case other:
                raise Unavailable(f"a comparison begins with {other!r:.100}")
        try:
            walks = self._walk(state, [number, time_ms, starts])
        finally:
            with contextlib.suppress(SherdError, OSError):  # then the leader gives it up by itself
                self._ask(state.id, state.leader, "compare_end", [number])
        expected = walks[state.leader].rows or []
        return [_verdict(state, name, lsn, expected, walks[name]) for name in state.followers]

    def _walk(self, state: ShardState, params: list[Any]) -> dict[str, _Walk]:
        """Have all replicas digest what they pinned, a slice of each in turn. The leader is asked to the end, so that
        it does not give the comparison up while others are at it.
        """
        walks = {name: _Walk() for name in (state.leader, *state.followers)}
        deadline = self._clock.monotonic() + REACH_SECONDS_MAX
        while any(walk.open for walk in walks.values()):
            waits = False
            for name, walk in walks.items():
                if not walk.open and name != state.leader:
                    continue
                try:
                    answer = self._ask(state.id, name, "digest", params)
                except WireError as error:
                    if name == state.leader:
                        raise
                    walk.error, walk.damaged = str(error), isinstance(error, Corruption)
                    continue
                if answer is None and self._clock.monotonic() > deadline:
                    walk.error = f"it did not come to its leader's LSN within {REACH_SECONDS_MAX:g} s"
                waits = waits or answer is None
                self._take(walk, state.id, name, answer)
            if waits:
                self._sleep(WAIT_SECONDS)
        return walks

    def _take(self, walk: _Walk, shard: int, name: str, answer: Any) -> None:
        match answer:
            case None:
                return
            case [int(examined), None]:
                self._tell(shard, name, examined)
            case [int(examined), list(rows)]:
                self._tell(shard, name, examined)
                walk.rows = [(count, total) for count, total in rows]
            case other:
                raise Unavailable(f"replica {name} answers a digest with {other!r:.100}")

    def _rebuild(self, shard: ShardId, name: str) -> None:
        """Have a follower begin anew, and wait until it has. Timeout if it takes too long."""
        deadline = self._clock.monotonic() + REBUILD_SECONDS_MAX
        leader = self._topology().shards[shard].leader
        self._ask(shard, leader, "rebuild", [name])
        while self._clock.monotonic() < deadline:
            self._sleep(PAUSE_SECONDS)
            try:
                told = self._ask(shard, leader, "followers", [])
            except _PASSING:
                if self._topology().shards[shard].leader != leader:
                    return  # the next one knows nothing of it; the comparison that follows tells
                continue
            found = told.get(name) if isinstance(told, dict) else None
            if not isinstance(found, dict) or not found.get("rebuild"):
                return
        raise Timeout(f"follower {name} of shard {shard} has not begun anew within {REBUILD_SECONDS_MAX:g} s")


def _verdict(state: ShardState, name: str, lsn: int, expected: Sequence[tuple[int, int]], walk: _Walk) -> Verdict:
    rows = walk.rows
    if rows is not None and len(rows) != len(expected):
        walk.error = f"it gives {len(rows)} ranges, its leader {len(expected)}"
    if rows is None or walk.error:
        return Verdict(state.id, name, lsn, error=walk.error, damaged=walk.damaged)
    differing = tuple(at for at, (ours, theirs) in enumerate(zip(expected, rows, strict=True)) if ours != theirs)
    return Verdict(state.id, name, lsn, len(rows), sum(count for count, _ in rows), differing)
