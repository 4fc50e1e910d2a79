"""A web application's sessions: nine reads to one write, some sessions much busier than others, all with a TTL.

All users share the sessions. Nobody knows what others write, but a value proves itself (``values.py``), its version is
the time it was made, and each user remembers of the sessions it met lately which version it saw and until when the
session must live: a session never goes back to an older version, never ends early, and never outlives its TTL.
"""

import time
from bisect import bisect
from collections import OrderedDict
from itertools import accumulate
from random import random
from typing import Any

from locust import between, task
from sherd_user import SherdUser
from values import BrokenAnswer, due, value_of, version_of

SESSIONS = 5_000
ZIPF_EXPONENT = 1.0
LOG_IN_SESSIONS = 50
SHORT_TTL_SECONDS = 3.0
LONG_TTL_SECONDS = 3600.0
REMEMBERED_MAX = 1_000
CLOCK_SECONDS = 0.5
"""How far the clocks of client and server may drift during a TTL."""
LATE_SECONDS = 12.0
"""The longest a put may take, and so the latest its TTL may begin, counted from when its value was made."""

_CUMULATED = list(accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(SESSIONS)))


def zipf_session() -> int:
    """A session's number; number n is drawn in proportion to 1 / (n + 1) (Zipf's law)."""
    return bisect(_CUMULATED, random() * _CUMULATED[-1], hi=SESSIONS - 1)


def key_of(session: int) -> str:
    return f"session:{session:06}"


def ttl_of(session: int) -> float:
    """Seconds; a quarter of the sessions end soon after their last write."""
    return SHORT_TTL_SECONDS if session % 4 == 0 else LONG_TTL_SECONDS


class SessionStore(SherdUser):
    """Reads and renews sessions."""

    wait_time = between(0.005, 0.05)

    def prepare(self) -> None:
        """Log in: a batch of sessions, so that reads find some from the start."""
        self._remembered: OrderedDict[int, tuple[int, float]] = OrderedDict()  # to stored version, lives until
        sessions = sorted({zipf_session() for _ in range(LOG_IN_SESSIONS)})
        made = time.time_ns() // 1000
        ops = [
            ("put", key_of(session), value_of(key_of(session), made), {"ttl": ttl_of(session)}) for session in sessions
        ]
        self.db.batch(ops, name="session: log in", check=lambda found: due("batch", "length", len(found), len(ops)))

    @task(9)
    def read(self) -> None:
        session = zipf_session()
        sent, sent_at = time.monotonic(), time.time()
        self.db.get(
            key_of(session),
            meta=True,
            name="session: read",
            check=lambda found: self._check(session, found, sent, sent_at),
        )

    @task(1)
    def renew(self) -> None:
        session = zipf_session()
        key, sent = key_of(session), time.monotonic()
        version = self.db.put(
            key, value_of(key, time.time_ns() // 1000), ttl=ttl_of(session), name="session: renew"
        )  # fmt: skip
        self._remember(session, version, sent + ttl_of(session))

    def _check(self, session: int, found: Any, sent: float, sent_at: float) -> None:
        """``found``: what a read sent at ``sent`` (monotonic) and ``sent_at`` (of the day) was answered."""
        key, ttl = key_of(session), ttl_of(session)
        version, lives_until = self._remembered.get(session, (0, 0.0))
        if found is None:
            if time.monotonic() + CLOCK_SECONDS < lives_until:
                raise BrokenAnswer(f"{key}: gone {lives_until - time.monotonic():.1f} s before its TTL ended")
            return
        made = version_of(key, found.value) / 1e6
        if found.version < version:
            raise BrokenAnswer(f"{key}: went back from version {version} to {found.version}")
        if found.seconds_left is None or not 0 <= found.seconds_left <= ttl + CLOCK_SECONDS:
            raise BrokenAnswer(f"{key}: has {found.seconds_left} s left of a TTL of {ttl:.0f} s")
        if sent_at - made > ttl + LATE_SECONDS:
            raise BrokenAnswer(f"{key}: is served {sent_at - made:.1f} s after it was made with a TTL of {ttl:.0f} s")
        self._remember(session, found.version, sent + found.seconds_left)

    def _remember(self, session: int, version: int, lives_until: float) -> None:
        self._remembered[session] = (version, lives_until)
        self._remembered.move_to_end(session)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
