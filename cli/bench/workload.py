"""What is asked next: the mix of operations, and which keys they are about.

YCSB's core workloads (Cooper, Silberstein, Tam, Ramakrishnan and Sears, "Benchmarking cloud serving systems with YCSB",
2010) are mixes of the same five operations, as is everything else here.
"""

import itertools
from array import array
from dataclasses import dataclass, field

import cython

from sherd.cli.bench.operations import BATCH, GET, INSERT, MGET, PUT, SCAN, UPDATE

if cython.compiled:
    from cython.cimports.sherd.cli.bench.key_choice import Inserts, KeyChoice
    from cython.cimports.sherd.cli.bench.permutation import Permutation
    from cython.cimports.sherd.cli.bench.random_source import RandomSource
    from cython.cimports.sherd.cli.bench.slots import Slots
else:
    from sherd.cli.bench.key_choice import Inserts, KeyChoice
    from sherd.cli.bench.permutation import Permutation
    from sherd.cli.bench.random_source import RandomSource
    from sherd.cli.bench.slots import Slots

YCSB_SCAN_ROWS_MAX = 100


@dataclass(frozen=True, slots=True)
class Mix:
    """The share of each operation; those of one mix add up to 1. ``distribution`` is the one meant if none is named."""

    shares: dict[int, float] = field(default_factory=dict)
    distribution: str = "uniform"
    scan_rows_random: bool = False


MIXES = {
    "set": Mix({PUT: 1.0}),
    "get": Mix({GET: 1.0}),
    "mget": Mix({MGET: 1.0}),
    "batch": Mix({BATCH: 1.0}),
    "scan": Mix({SCAN: 1.0}),
    "a": Mix({GET: 0.5, PUT: 0.5}, "zipfian"),
    "b": Mix({GET: 0.95, PUT: 0.05}, "zipfian"),
    "c": Mix({GET: 1.0}, "zipfian"),
    "d": Mix({GET: 0.95, INSERT: 0.05}, "latest"),
    "e": Mix({SCAN: 0.95, INSERT: 0.05}, "zipfian", scan_rows_random=True),
    "f": Mix({GET: 0.5, UPDATE: 0.5}, "zipfian"),
}


def mix_of(workload: str, read_share: float) -> Mix:
    """The mix of a workload by its name; ``read_share`` is that of ``mixed``. ``load`` puts, ``fullscan`` scans."""
    if workload == "mixed":
        return Mix({GET: read_share, PUT: 1.0 - read_share})
    return MIXES[{"load": "set", "fullscan": "scan"}.get(workload, workload)]


_PUT = cython.declare(cython.int, PUT)
_INSERT = cython.declare(cython.int, INSERT)

_UPDATE = cython.declare(cython.int, UPDATE)
_SCAN = cython.declare(cython.int, SCAN)
_SCAN_ROWS_MAX = cython.declare(cython.int, YCSB_SCAN_ROWS_MAX)


@cython.final
@cython.cclass
class Workload:
    """Draws requests. With ``order`` it puts every key once, ``sequential`` or ``random``, in place of drawing keys."""

    def __init__(
        self,
        mix: Mix,
        distribution: str,
        keys: int,
        scan_rows: int,
        seed: int,
        order: str | None = None,
    ) -> None:
        self.random = RandomSource(seed)
        self._inserts = Inserts(keys)
        self._choice = KeyChoice(distribution, keys, self.random, self._inserts)
        self._kinds = bytearray(mix.shares)
        self._ends = array("d", itertools.accumulate(mix.shares.values()))
        self._scan_rows = scan_rows
        self._scan_rows_random = mix.scan_rows_random
        self._in_order = order is not None
        self._place = 0
        self._keys = keys
        self._shuffle = Permutation(keys, seed) if order == "random" else None

    @cython.cfunc
    def next(self, slots: Slots, slot: cython.int) -> None:
        """Draw the next request into ``slot``."""
        kind: cython.int = self._kinds[0]
        at: cython.Py_ssize_t = slot * slots.width
        i: cython.Py_ssize_t
        if len(self._kinds) > 1:
            kind = self._draw_kind()
        slots.kinds[slot] = kind
        if kind == _INSERT:
            slots.numbers[at] = self._inserts.take()
            return
        if self._in_order:
            slots.numbers[at] = self._next_in_order()
            return
        for i in range(slots.width):
            slots.numbers[at + i] = self._choice.pick()
        if kind == _SCAN:
            slots.rows_left[slot] = self._scan_rows
            if self._scan_rows_random:
                slots.rows_left[slot] = 1 + cython.cast(cython.int, self.random.below(_SCAN_ROWS_MAX))

    @cython.cfunc
    @cython.exceptval(-1)
    def _draw_kind(self) -> cython.int:
        share: cython.double = self.random.fraction()
        i: cython.Py_ssize_t = 0
        while i < len(self._kinds) - 1 and share >= self._ends[i]:
            i += 1
        if self._kinds[i] == _INSERT and not self._inserts.can_take():
            return self._kinds[0]
        return self._kinds[i]

    @cython.cfunc
    @cython.exceptval(-1)
    def _next_in_order(self) -> cython.ulonglong:
        place: cython.ulonglong = self._place % self._keys
        self._place += 1
        return place if self._shuffle is None else self._shuffle.at(place)

    @cython.cfunc
    @cython.exceptval(-1)
    def answered(self, slots: Slots, slot: cython.int, good: cython.int) -> cython.int:
        """The request in ``slot`` was answered: 1 if it goes on with another in the same slot, else 0."""
        if slots.kinds[slot] == _INSERT:
            self._inserts.answer(slots.numbers[slot * slots.width])
        elif slots.kinds[slot] == _UPDATE and good:
            slots.kinds[slot] = _PUT
            return 1
        return 0
