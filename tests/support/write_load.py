"""Writers that remember what was acknowledged, and a reader that holds a cluster to it after a crash.

Each writer owns its keys, so for every key the acknowledged writes are in order: after a crash a key must hold the last
acknowledged sequence number or a later one that was sent, never an earlier one and never a value that was not sent.
Pairs are written by batches to keys of one shard: both must hold the same number.
"""

import random
import threading
from dataclasses import dataclass, field

from sherd import Client, SherdError

KEYS_PER_WRITER = 40


@dataclass
class Ledger:
    """What one writer knows: per key the last number acknowledged and the last sent."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    replies: int = 0


class Writer(threading.Thread):
    """Writes until the cluster is gone or ``stop`` is set: single puts, pipelines and pairs, as the seed has it."""

    def __init__(self, address: str, number: int, ledger: Ledger, seed: int, start: int) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._number = number
        self._ledger = ledger
        self._random = random.Random(seed)
        self._next = start
        self._halt = threading.Event()
        self.first_reply = threading.Event()
        self.failure: Exception | None = None

    def halt(self) -> None:
        self._halt.set()

    def run(self) -> None:
        try:
            with Client(self._address, timeout=2.0) as db:
                while not self._halt.is_set():
                    self._write(db)
                    self.first_reply.set()
        except SherdError:
            self._halt.set()  # the cluster was killed, which is the point
        except Exception as error:  # noqa: BLE001  a thread's edge: the test raises it
            self.failure = error
        finally:
            self.first_reply.set()

    def _write(self, db: Client) -> None:
        kind = self._random.randrange(4)
        if kind == 0:
            pair = self._random.randrange(KEYS_PER_WRITER)
            self._send([f"a-pair-{self._number}-{pair}-x", f"a-pair-{self._number}-{pair}-y"], db, batch=True)
        elif kind == 1:
            keys = [self._key() for _ in range(20)]
            self._send(list(dict.fromkeys(keys)), db, batch=False)
        else:
            self._send([self._key()], db, batch=False)

    def _key(self) -> str:
        return f"{self._random.choice('bz')}-{self._number}-{self._random.randrange(KEYS_PER_WRITER)}"

    def _send(self, keys: list[str], db: Client, *, batch: bool) -> None:
        number = self._next
        self._next += 1
        filler = "x" * self._random.randrange(200)
        for key in keys:
            self._ledger.sent[key] = number
        if batch:
            db.batch([("put", key, [number, filler]) for key in keys])
        elif len(keys) == 1:
            db.put(keys[0], [number, filler])
        else:
            with db.pipeline() as p:
                for key in keys:
                    p.put(key, [number, filler])
        for key in keys:
            self._ledger.acknowledged[key] = number
            self._ledger.replies += 1

    @property
    def reached(self) -> int:
        """The next number it would have written."""
        return self._next


def check(db: Client, ledgers: list[Ledger]) -> None:
    """Hold the cluster to what was acknowledged, and adopt what it holds as the new truth."""
    for ledger in ledgers:
        keys = sorted(ledger.sent)
        for key, value in zip(keys, db.mget(keys), strict=True):
            acknowledged = ledger.acknowledged.get(key, 0)
            found = value[0] if value is not None else 0
            if not acknowledged <= found <= ledger.sent[key]:
                raise AssertionError(f"{key}: {found}, acknowledged {acknowledged}, sent {ledger.sent[key]}")
            ledger.acknowledged[key] = found
        for key in keys:
            if key.endswith("-x") and ledger.acknowledged[key] != ledger.acknowledged[key[:-1] + "y"]:
                raise AssertionError(f"{key}: a batch is torn")
