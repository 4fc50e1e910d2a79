"""Which reads a follower answers: those that say how old its state may be, or what write they have to see.

How old a follower's state is follows from its own clock alone. When a pull's answer leaves it with all that the leader
had, it is as new as that answer, and that was given after the pull was sent: so it counts from when it was sent. Before
the first such answer nothing is read here, for the end of this log may not be the leader's. What a read has to see is a
place in the leader's log, and is here if this log comes that far in the same history.

Who is refused asks the leader. There is no waiting here: to ask the leader takes no longer.
"""

import math
from collections.abc import Callable
from typing import Protocol

from sherd.common.errors import NotLeader
from sherd.shard.lsm.engine import Engine
from sherd.shard.replication.history import term_of


class Following(Protocol):
    """What is to be known of a follower: when it had all its leader had, and that somebody wants it to be that new."""

    caught_up_at: float

    def hurry(self, stale_seconds: float) -> None: ...


class StaleReads:
    """Judges reads for one life of ``engine`` as a follower. ``following.caught_up_at`` is of ``monotonic``."""

    def __init__(self, engine: Engine, shard: int, following: Following, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._shard = shard
        self._following = following
        self._monotonic = monotonic

    def check(self, stale_ms: int, at: tuple[int, int, int] | None) -> None:
        """NotLeader unless the state is at most ``stale_ms`` old (0: any age will do) and has the write ``at`` a place
        of this shard's log; a read that asks for neither is the leader's.
        """
        if not stale_ms and at is None:
            raise NotLeader(f"this replica of shard {self._shard} follows; ask its leader")
        if stale_ms:
            self._following.hurry(stale_ms / 1000)
        age_seconds = self._monotonic() - self._following.caught_up_at
        if math.isinf(age_seconds) or (stale_ms and age_seconds * 1000 > stale_ms):
            raise NotLeader(f"this replica of shard {self._shard} is {age_seconds:.3f} s behind; ask its leader")
        if at is not None and not self._has(at[1], at[2]):
            raise NotLeader(f"this replica of shard {self._shard} has nothing at LSN {at[2]} of term {at[1]} yet")

    def _has(self, term: int, lsn: int) -> bool:
        return lsn <= self._engine.last_lsn and term_of(self._engine.terms, lsn) == term
