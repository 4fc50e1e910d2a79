"""How far a log has come over time: so that a follower's LSN can be told as bytes and seconds it is behind."""

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

SAMPLES_MAX = 2000


class Sample(NamedTuple):
    """At ``at`` seconds the log ended at ``lsn``, and ``log_bytes`` had been written to it."""

    lsn: int
    log_bytes: int
    at: float


class Lag(NamedTuple):
    """What a follower lacks; 0 each if nothing. Bytes and seconds are as exact as the samples lie close."""

    records: int
    log_bytes: int
    seconds: float


class Progress:
    """Samples of one log, the oldest given up when there are too many: a lag beyond them is told as at least that."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_MAX)

    def note(self, sample: Sample) -> None:
        """The log has come so far."""
        if not self._samples or sample.lsn > self._samples[-1].lsn:
            self._samples.append(sample)

    def lag(self, acked_lsn: int, now: Sample, gaps: int) -> Lag:
        """Of a follower that has everything up to ``acked_lsn``; ``gaps`` are LSNs in between that nobody was given."""
        if acked_lsn >= now.lsn:
            return Lag(0, 0, 0.0)
        at = bisect_right(self._samples, acked_lsn, key=lambda sample: sample.lsn)
        before = self._samples[max(at - 1, 0)] if self._samples else now
        missing = self._samples[at] if at < len(self._samples) else now
        return Lag(now.lsn - acked_lsn - gaps, now.log_bytes - before.log_bytes, max(0.0, now.at - missing.at))
