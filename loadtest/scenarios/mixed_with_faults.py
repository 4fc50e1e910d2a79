"""A bit of everything on keys of one's own while shards die: with ``--kill-every`` nothing acknowledged may be lost.

Every read is held to the user's ledger (``ledger.py``), during faults too; when the test ends the user reads all its
keys back. Without ``--kill-every`` it is the same load on a cluster at peace, and every error is a failure.
"""

import random
from typing import Any

from ledger import ABSENT, Ledger
from locust import between, task
from sherd_user import SherdUser, address_of
from values import due, value_of

from sherd import Client

KEYS = 100
MGET_KEYS = 10
CLIENT_SECONDS = 5.0
LAST_CHECK_SECONDS = 30.0


class MixedWithFaults(SherdUser):
    """Puts, conditional puts, gets, deletes, mgets; half of the users let the client retry, half do not."""

    wait_time = between(0.002, 0.02)

    def client_options(self) -> dict[str, Any]:
        return {**super().client_options(), "retry": random.random() < 0.5}

    def prepare(self) -> None:
        self._ledger = Ledger(f"mixed:{self.token}", KEYS)
        self._stored: dict[str, int] = {}  # the version in the store, of keys that have a value

    @task(4)
    def put(self) -> None:
        key = random.choice(self._ledger.keys)
        version = self._ledger.new_version()
        with self._ledger.writing(key, version):
            stored = self.db.put(key, value_of(key, version), name="mixed", timeout=CLIENT_SECONDS)
        self._stored[key] = stored

    @task(2)
    def replace(self) -> None:
        """A put on condition that nobody wrote in between, which nobody did."""
        key = random.choice(self._ledger.keys)
        version = self._ledger.new_version()
        expected = self._stored.get(key, 0) if self._ledger.exists(key) else 0
        with self._ledger.writing(key, version):
            stored = self.db.put(
                key, value_of(key, version), if_version=expected, name="mixed: if_version", timeout=CLIENT_SECONDS
            )
        self._stored[key] = stored

    @task(6)
    def get(self) -> None:
        key = random.choice(self._ledger.all_keys)
        self.db.get(key, name="mixed", timeout=CLIENT_SECONDS, check=lambda found: self._ledger.check(key, found))

    @task(1)
    def delete(self) -> None:
        key = random.choice(self._ledger.keys)
        existed = self._ledger.exists(key)
        with self._ledger.writing(key, ABSENT):
            self.db.delete(
                key,
                name="mixed",
                timeout=CLIENT_SECONDS,
                check=lambda found: due(key, "answer to its delete", found, existed),
            )
        self._stored.pop(key, None)

    @task(2)
    def mget(self) -> None:
        keys = random.sample(self._ledger.all_keys, MGET_KEYS)
        self.db.mget(
            keys, name="mixed", timeout=CLIENT_SECONDS, check=lambda found: self._ledger.check_all(keys, found)
        )

    def last_check(self) -> None:
        """All keys by a client of its own, which retries: the killing is over, so nothing excuses a failure."""
        keys = self._ledger.all_keys
        with Client(address_of(self.host), key_encoding="utf-8", timeout=LAST_CHECK_SECONDS) as db:
            self.db.call(
                "mget",
                lambda: db.mget(keys),
                name="mixed: read back",
                check=lambda found: self._ledger.check_all(keys, found),
            )
