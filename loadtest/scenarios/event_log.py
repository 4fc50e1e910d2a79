"""Events of many sources by time: keys ``log:<source>:<time>`` whose byte order is the order of time.

Each user is one source, whose clock runs faster than ours so that hours fill while one watches. It remembers its latest
events, and a range must hold exactly these, in order, with their values.
"""

import random
from collections import deque
from typing import Any

from locust import between, task
from sherd_user import SherdUser
from values import BrokenAnswer, shown, value_of, version_of

FIRST_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HOUR_MS = 3_600_000
STEP_MS_MAX = 60_000
REMEMBERED_MAX = 5_000
LAST_ROWS = 20
PAGE_ROWS = 50


class EventLog(SherdUser):
    """Appends to a source's log, reads its end, pages through its hours."""

    wait_time = between(0.005, 0.05)

    def prepare(self) -> None:
        self._source = self.token
        self._now_ms = FIRST_MS
        self._times: deque[int] = deque(maxlen=REMEMBERED_MAX)
        self._unsure: set[int] = set()  # of the times, those whose append had an unknown outcome

    def _key(self, time_ms: int) -> str:
        return f"log:{self._source}:{time_ms:013}"

    @task(10)
    def append(self) -> None:
        self._now_ms += random.randint(1, STEP_MS_MAX)
        time_ms, key = self._now_ms, self._key(self._now_ms)
        if len(self._times) == REMEMBERED_MAX:
            self._unsure.discard(self._times[0])
        self._times.append(time_ms)
        self._unsure.add(time_ms)
        self.db.put(key, value_of(key, time_ms), name="log: append")  # if it raises, the outcome stays unsure
        self._unsure.discard(time_ms)

    @task(4)
    def read_last(self) -> None:
        """The newest events of the source, newest first."""
        self.db.scan(
            prefix=f"log:{self._source}:",
            reverse=True,
            limit=LAST_ROWS,
            name=f"log: last {LAST_ROWS}",
            check=lambda rows: self._check(rows, list(reversed(self._times)), LAST_ROWS),
        )

    @task(1)
    def page_through_an_hour(self) -> None:
        """All events of an hour, a page a request; each goes on after the last key of the one before."""
        if not self._times:
            return
        oldest, newest = self._times[0], self._times[-1]
        hours = (newest - oldest) // HOUR_MS
        begin = oldest + random.randint(0, hours) * HOUR_MS
        start, end = self._key(begin), self._key(begin + HOUR_MS)
        due = [time_ms for time_ms in self._times if begin <= time_ms < begin + HOUR_MS]
        while True:
            rows = self.db.scan(
                start,
                end,
                limit=PAGE_ROWS,
                name="log: page of an hour",
                check=lambda rows, due=due: self._check(rows, due, PAGE_ROWS),  # type: ignore[misc]
            )
            if len(rows) < PAGE_ROWS:
                return
            last = rows[-1][0]
            start = last + "\0"
            due = [time_ms for time_ms in due if self._key(time_ms) > last]

    def _check(self, rows: list[tuple[str, Any]], due: list[int], rows_max: int) -> None:
        """``rows`` are the events of ``due``, in this order, as far as ``rows_max`` goes."""
        found = [key for key, _ in rows]
        there = set(found)
        keys = ((self._key(time_ms), time_ms in self._unsure) for time_ms in due)
        wanted = [key for key, unsure in keys if not unsure or key in there][:rows_max]
        if found != wanted:
            differ = next((pair for pair in zip(found, wanted, strict=False) if pair[0] != pair[1]), (found, wanted))
            raise BrokenAnswer(
                f"log:{self._source}: {len(found)} rows instead of {len(wanted)}; {shown(differ[0])} "
                f"instead of {shown(differ[1])}"
            )
        for key, value in rows:
            if version_of(key, value) != int(key.rpartition(":")[2]):
                raise BrokenAnswer(f"{key}: has the value of another time")
