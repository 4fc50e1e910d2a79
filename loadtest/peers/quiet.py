"""How much of the machine went to processes that have no part in a measurement, and to the host.

On few cores this decides a ratio: a cluster of six processes loses more to a busy neighbour than one server does. Every
measurement carries its share, and the page says so where a run was not quiet.
"""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from peers.cpu import TICKS_PER_SECOND
from peers.rows import Results

OTHERS_SHARE = "others_share"
QUIET_SHARE_MAX = 0.05
IDLE_FIELDS = (3, 4)
"""Of the line ``cpu`` in /proc/stat: idle, and waiting for a disk."""
COUNTED_FIELDS = 8
"""User, nice, system, idle, waiting, two of interrupts, stolen by the host; guests are in user already."""


def busy_seconds(text: str) -> float:
    """Processor seconds that were not idle, of all cores, since boot; ``text`` is /proc/stat."""
    fields = [int(field) for field in text.splitlines()[0].split()[1 : COUNTED_FIELDS + 1]]
    return sum(ticks for place, ticks in enumerate(fields) if place not in IDLE_FIELDS) / TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Watch:
    """One look at the clock, the whole machine, and this process with the children it has waited for."""

    at: float
    busy: float
    own: float

    @classmethod
    def start(cls) -> "Watch":
        own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        busy = busy_seconds(Path("/proc/stat").read_text())
        return cls(time.monotonic(), busy, sum(usage.ru_utime + usage.ru_stime for usage in own))

    def detail(self, servers_seconds: float = 0.0) -> dict[str, float]:
        """The share, rounded, as a detail of a sample."""
        return {OTHERS_SHARE: round(self.others_share(servers_seconds), 4)}

    def others_share(self, servers_seconds: float) -> float:
        """The part of all cores' time since the start that neither we nor the servers measured have used."""
        now = Watch.start()
        others = (now.busy - self.busy) - (now.own - self.own) - servers_seconds
        return max(0.0, others) / ((now.at - self.at) * (os.cpu_count() or 1))


def quiet_remark(results: Results) -> str | None:
    """How quiet the measurements were; None if there was none."""
    shares = [
        float(sample.detail[OTHERS_SHARE])
        for row in results.rows
        for samples in row.samples.values()
        for sample in samples
        if OTHERS_SHARE in sample.detail
    ]
    if not shares:
        return None
    told = f"took {median(shares):.0%} of all cores in the median measurement, {max(shares):.0%} at most"
    if median(shares) > QUIET_SHARE_MAX:
        return f"NOT QUIET: other processes {told}. These ratios are no figures of record."
    return f"Other processes {told}."
