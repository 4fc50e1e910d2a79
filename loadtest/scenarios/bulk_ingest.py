"""A loader's batches of 100 to 500 records, each followed by spot checks of what was loaded before."""

import random
from collections import deque

from locust import between, task
from measured_client import Reported
from sherd_user import SherdUser
from values import BrokenAnswer, due, value_of, version_of

BATCH_MIN = 100
BATCH_MAX = 500
BATCHES_REMEMBERED = 200
SPOT_KEYS = 20
SPOT_BATCHES = 2


class BulkIngest(SherdUser):
    """Loads batches, checks samples of them by ``mget``, and counts whole batches."""

    wait_time = between(0.02, 0.1)

    def prepare(self) -> None:
        self._next = 0
        self._loaded: deque[range] = deque(maxlen=BATCHES_REMEMBERED)

    def _key(self, number: int) -> str:
        return f"ingest:{self.token}:{number:09}"

    @task
    def load_and_check(self) -> None:
        numbers = range(self._next, self._next + random.randint(BATCH_MIN, BATCH_MAX))
        self._next = numbers.stop
        keys = [self._key(number) for number in numbers]
        ops = [("put", key, value_of(key, number)) for key, number in zip(keys, numbers, strict=True)]
        self.db.batch(ops, name="ingest: load", check=lambda versions: self._check_versions(keys, versions))
        self._loaded.append(numbers)  # after a failure its keys may be there or not, and are not looked at
        for _ in range(SPOT_BATCHES):
            self._spot_check(random.choice(self._loaded))

    def last_check(self) -> None:
        """Every record of the batches still remembered."""
        for numbers in self._loaded:
            try:
                self._read(numbers, "ingest: read back")
            except Reported as failed:
                if not isinstance(failed.error, BrokenAnswer):
                    raise  # without an answer for this batch there will hardly be one for the others

    def _spot_check(self, numbers: range) -> None:
        self._read(random.sample(numbers, SPOT_KEYS), "ingest: spot check")
        start = self._key(numbers.start)
        self.db.count(
            start,
            self._key(numbers.stop),
            name="ingest: count a batch",
            check=lambda count: due(start, "count of its batch", count, len(numbers)),
        )

    def _read(self, numbers: range | list[int], name: str) -> None:
        keys = [self._key(number) for number in numbers]

        def check(values: list[object]) -> None:
            due(keys[0], "number of values", len(values), len(keys))
            for key, number, value in zip(keys, numbers, values, strict=True):
                due(key, "version", version_of(key, value), number)

        self.db.mget(keys, name=name, check=check)

    @staticmethod
    def _check_versions(keys: list[str], versions: list[int | bool]) -> None:
        due(keys[0], "number of versions", len(versions), len(keys))
        if any(isinstance(version, bool) or version <= 0 for version in versions):
            raise BrokenAnswer(f"{keys[0]}: its batch was answered with something other than versions")
