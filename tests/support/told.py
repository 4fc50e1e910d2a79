"""What clients of a cluster asked and were told while something was broken: the oracle of fault tests.

Threads on one host write and read a few keys through the proxy, each operation once. Every answer is noted twice: in a
``History`` for the linearizability checker, and with its time, which tells when the cluster was available.
"""

import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from sim.history import History, Operation, Outcome
from sim.linearizability import by_key, judge

from sherd.client.requests import Acks
from sherd.client.sync import Client
from sherd.common.errors import Overloaded, SherdError, Timeout, Unavailable

CALL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Told:
    """The end of one operation, and its times in monotonic seconds; ``error`` is empty if it was done."""

    kind: str
    asked_at: float
    told_at: float
    error: str


class Traffic:
    """``threads`` clients of ``addresses`` at about ``rate`` operations a second each, on ``keys`` keys in all."""

    def __init__(
        self,
        enter: Callable[[], None],
        addresses: str,
        name: str,
        *,
        acks: Acks | None = None,
        threads: int = 3,
        rate: float = 60.0,
        keys: int = 12,
    ) -> None:
        self._enter = enter
        self._addresses = addresses
        self._keys = [f"{name}-{number}" for number in range(keys)]
        self._acks = acks
        self._rate = rate
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._history = History()
        self._threads = [threading.Thread(target=self._run, args=(f"{name}{n}",)) for n in range(threads)]
        self.told: list[Told] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str) -> None:
        self._enter()
        dice = random.Random(name)
        try:
            with Client(self._addresses, timeout=CALL_SECONDS, retry=False) as client:
                number = 0
                while not self._stopped.is_set():
                    number += 1
                    self._do(client, name, dice.choice(self._keys), f"{name}:{number}", dice.random() < 0.6)
                    self._stopped.wait(dice.expovariate(self._rate))
        except Exception as error:  # noqa: BLE001 - a thread's edge; ``check`` reports it
            self.failures.append(f"{name}: {error!r}")

    def _do(self, client: Client, name: str, key: str, value: str, write: bool) -> None:
        kind = "put" if write else "get"
        asked_at = time.monotonic()
        with self._lock:
            noted = self._history.begin(name, kind, key.encode(), value.encode() if write else None)
        found: bytes | None = None
        version: int | None = None
        error: SherdError | None = None
        try:
            if write:
                version = client.put(key, value, acks=self._acks)
            elif (read := client.get(key, meta=True)) is not None:
                found, version = read.value.encode(), read.version
        except SherdError as caught:
            error = caught
        told_at = time.monotonic()
        with self._lock:
            self._history.end(noted, outcome_of(error), found=found, version=version)
            self.told.append(Told(kind, asked_at, told_at, "" if error is None else type(error).__name__))
            if not isinstance(error, (Timeout, Unavailable, Overloaded, type(None))):
                self.failures.append(f"{kind} {key}: {error!r}")

    def wrote_since(self, moment: float) -> bool:
        """Whether a write was done that was asked for later than that."""
        return any(told.asked_at > moment for told in self.done("put"))

    # What came of it; to be asked when the block has ended

    def done(self, kind: str | None = None) -> list[Told]:
        return [told for told in self.told if not told.error and kind in (None, told.kind)]

    def errors(self) -> dict[str, int]:
        """How many operations ended with each error."""
        found: dict[str, int] = {}
        for told in self.told:
            if told.error:
                found[told.error] = found.get(told.error, 0) + 1
        return found

    def away_seconds(self, since: float) -> float:
        """The longest time from ``since`` on in which no write was done."""
        ends = [since, *sorted(told.told_at for told in self.done("put") if told.told_at > since)]
        return max((after - before for before, after in itertools.pairwise(ends)), default=math.inf)

    def acknowledged(self) -> list[Operation]:
        """The writes that were done."""
        return [op for op in self._history.operations if op.kind == "put" and op.outcome is Outcome.OK]

    def check_errors(self) -> None:
        """Nothing was answered but results, TIMEOUT, UNAVAILABLE and OVERLOADED; and something was done."""
        assert not self.failures, self.failures
        assert self.done(), f"nothing was done: {self.errors()}"

    def check_linearizable(self, client: Client) -> None:
        """What was told fits one order of all that was done, and so does what is there now."""
        self.check_errors()
        for key in self._keys:
            noted = self._history.begin("afterwards", "get", key.encode())
            read = client.get(key, meta=True)
            if read is None:
                self._history.end(noted, found=None)
            else:
                self._history.end(noted, found=read.value.encode(), version=read.version)
        for key, operations in by_key(self._history.operations).items():
            verdict = judge(operations)
            assert verdict.linearizable, f"no order of what was told of {key!r}:\n" + shown(operations, verdict.order)

    def check_versions_rise(self) -> None:
        """Of writes to a key, one that was asked for after another was acknowledged has the larger version."""
        for key, operations in by_key(self.acknowledged()).items():
            ordered = sorted(operations, key=lambda op: op.returned)
            highest, pending = 0, list(ordered)
            for op in sorted(operations, key=lambda op: op.invoked):
                while pending and pending[0].returned < op.invoked:
                    highest = max(highest, pending.pop(0).version or 0)
                assert (op.version or 0) > highest, f"a version of {key!r} fell: {op}"


def outcome_of(error: SherdError | None) -> Outcome:
    """TIMEOUT means unknown; UNAVAILABLE and OVERLOADED that it was not done."""
    if error is None:
        return Outcome.OK
    return Outcome.FAILED if isinstance(error, (Unavailable, Overloaded)) else Outcome.UNKNOWN


def shown(operations: Sequence[Operation], order: Sequence[Operation]) -> str:
    """The last of what could be ordered, and what comes after it."""
    ordered = set(order)
    rest = [op for op in operations if op not in ordered and op.outcome is not Outcome.FAILED]
    return "\n".join(str(op) for op in [*order[-6:], *rest[:12]])
