"""Comparing replicas: each takes a snapshot of itself at the same LSN, and digests it in slices when it is asked to.

The log goes on meanwhile, so who asks cannot choose the LSN for all. The leader does: it pins a snapshot at its last
LSN and from then on says so, as a *mark*, with every answer to a pull. Nothing beyond that LSN had been written when
the mark was set, so no follower gets a record beyond it before the mark; and as it applies the log in order, it pins
its own snapshot when it stands at exactly that LSN.

| a comparison on a follower | then |
|---|---|
| is not known, or its LSN is not reached | "not yet" |
| the log has come to its LSN | pinned; digested by slices; the snapshot goes as soon as that is done |
| this replica began behind its LSN, or had no room to pin | can't be told; who asks begins another |
| its leader does not name it any more, or is another one | forgotten |

A comparison that nobody asks about for ``IDLE_SECONDS`` is given up by its leader, and so by the followers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sherd.common.errors import BadRequest, ConfigError, Corruption, Overloaded, StoreFull, Unavailable
from sherd.common.topology.layout import FIRST_TOKEN, Mode
from sherd.common.topology.token_map import TokenMap
from sherd.common.world import World
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.snapshot import Snapshot
from sherd.shard.replication.digest import Digest, hash_range_starts, token_ranges

IDLE_SECONDS = 60.0
COMPARISONS_MAX = 4
STEP_ENTRIES_MAX = 5_000
STEP_BYTES_MAX = 1 << 20
KEY_RANGES_MAX = 128
START_BYTES_MAX = 256

Mark = tuple[int, int]
"""(id, LSN) of a comparison."""


@dataclass(slots=True)
class _Comparison:
    lsn: int
    asked_at: float
    snapshot: Snapshot | None = None
    digest: Digest | None = None
    impossible: str = ""

    def release(self) -> None:
        if self.snapshot is not None:
            self.snapshot.close()
            self.snapshot = None


class Comparisons:
    """Those that one replica takes part in, as the leader or as a follower."""

    def __init__(self, engine: Engine, world: World) -> None:
        self._engine = engine
        self._random = world.random
        self._monotonic = world.clock.monotonic
        self._found: dict[int, _Comparison] = {}
        self._awaited = False

    # -- the leader's side -------------------------------------------------------------------------------------------

    @property
    def marks(self) -> list[Mark]:
        """What followers have to be told."""
        return [(number, comparison.lsn) for number, comparison in self._found.items()]

    def begin(self, mode: Mode) -> list[Any]:
        """``[id, LSN, time, [where a range of tokens starts ...]]`` of a new comparison.

        Overloaded if there are too many; raises as ``Engine.snapshot`` does.
        """
        if len(self._found) >= COMPARISONS_MAX:
            raise Overloaded(f"{COMPARISONS_MAX} comparisons of this shard are under way")
        snapshot = self._engine.snapshot()
        number, lsn = self._random.getrandbits(63), self._engine.last_lsn
        self._found[number] = _Comparison(lsn, self._monotonic(), snapshot)
        return [number, lsn, self._engine.now_ms(), self._range_starts(mode)]

    def _range_starts(self, mode: Mode) -> list[bytes]:
        """In range mode where tables start, since where the keys are is known only to them."""
        if mode == "hash":
            return hash_range_starts()
        tables = [table for level in self._engine.installer.version.metas() for table in level]
        keys = sorted({table.smallest[:START_BYTES_MAX] for table in tables})
        return [FIRST_TOKEN[mode], *keys[:: len(keys) // KEY_RANGES_MAX + 1]]

    def end(self, number: int) -> None:
        """Let go of a comparison. Harmless when repeated."""
        found = self._found.pop(number, None)
        if found is not None:
            found.release()

    # -- the follower's side -----------------------------------------------------------------------------------------

    def heed(self, marks: Sequence[Mark]) -> None:
        """The leader's marks are these now. To be called with each of its answers, before records of it are applied."""
        wanted = dict(marks[:COMPARISONS_MAX])
        for number in self._found.keys() - wanted.keys():
            self.end(number)
        for number, lsn in wanted.items():
            if number not in self._found:
                self._found[number] = _Comparison(lsn, self._monotonic())
                self._awaited = True
        self.reach()

    def reach(self) -> None:
        """The log has come to another LSN. To be called after each record."""
        if not self._awaited:
            return
        self._awaited = False
        for comparison in self._found.values():
            if comparison.snapshot is not None or comparison.digest is not None or comparison.impossible:
                continue
            if comparison.lsn > self._engine.last_lsn:
                self._awaited = True
            elif comparison.lsn < self._engine.last_lsn:
                comparison.impossible = f"the log of this replica begins behind LSN {comparison.lsn}"
            else:
                self._pin(comparison)

    def _pin(self, comparison: _Comparison) -> None:
        try:
            comparison.snapshot = self._engine.snapshot()
        except (Overloaded, StoreFull) as error:
            comparison.impossible = f"no snapshot could be taken: {error}"

    # -- both --------------------------------------------------------------------------------------------------------

    def digest(self, number: int, time_ms: int, mode: Mode, starts: Sequence[bytes]) -> list[Any] | None:
        """Do a slice of a comparison's digest: ``[entries examined, rows of the digest or None if that was not all]``.

        None: it is not known here, or its LSN not reached. Unavailable if it can't be told here, BadRequest for ranges
        that are none, Corruption if something is damaged. Expiry is judged by ``time_ms``.
        """
        found = self._found.get(number)
        if found is None:
            return None
        found.asked_at = self._monotonic()
        if found.impossible:
            raise Unavailable(found.impossible)
        try:
            if found.digest is None and found.snapshot is not None:
                found.digest = Digest(found.snapshot.cursor(), _ranges(mode, starts), time_ms)
            if found.digest is None:
                return None
            if not found.digest.done:
                found.digest.step(STEP_ENTRIES_MAX, STEP_BYTES_MAX)
        except Corruption as error:
            self._engine.installer.damage.met(error)
            found.impossible = error.message
            found.release()
            raise
        if found.digest.done:
            found.release()
        return [found.digest.examined, found.digest.rows() if found.digest.done else None]

    def tick(self) -> None:
        """Give up what nobody asks about. To be called regularly."""
        now = self._monotonic()
        for number in [number for number, found in self._found.items() if now - found.asked_at > IDLE_SECONDS]:
            self.end(number)

    def close(self) -> None:
        """Let go of all."""
        for number in list(self._found):
            self.end(number)


def _ranges(mode: Mode, starts: Sequence[bytes]) -> TokenMap:
    try:
        return token_ranges(mode, starts)
    except ConfigError as error:
        raise BadRequest(f"these are no ranges of tokens: {error}") from error
