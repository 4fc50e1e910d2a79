"""``SherdUser``: a locust user with a Sherd client. Derive from it as from ``HttpUser``:

    class Reader(SherdUser):
        @task
        def read(self):
            self.db.get("user:1", name="profile", check=self.is_profile)

``self.db`` is a ``MeasuredClient``: each call is a line of locust's statistics, and fails when ``check`` raises
``BrokenAnswer``. Users connect to locust's ``--host HOST:PORT``, each with a connection of its own.
"""

import secrets
from typing import Any, ClassVar

from fault_window import FaultWindow
from locust import User
from locust.env import Environment
from measured_client import MeasuredClient, Reported

from sherd import Client

ADDRESS_DEFAULT = "127.0.0.1:7700"
SCHEME = "sherd://"


def address_of(host: str | None) -> str:
    """The cluster's address from locust's ``--host``, with or without ``sherd://``."""
    return (host or ADDRESS_DEFAULT).removeprefix(SCHEME).rstrip("/")


class SherdUser(User):
    """Base of the scenarios.

    A scenario overrides ``prepare`` and ``last_check`` where locust has ``on_start`` and ``on_stop``: a call that
    fails there is in the statistics and ends that part alone.
    """

    abstract = True
    host = ADDRESS_DEFAULT
    faults: ClassVar[FaultWindow] = FaultWindow()
    """Shared by all users of this process with whoever kills shards."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        client = Client(address_of(self.host), **self.client_options())
        self.db = MeasuredClient(client, environment.events.request, self.faults, type(self).__name__)
        self.token = secrets.token_hex(5)
        """A name that no other user of any run has."""

    def client_options(self) -> dict[str, Any]:
        """Options of its ``sherd.Client``."""
        return {"key_encoding": "utf-8", "connections_max": 1}

    def prepare(self) -> None:
        """What the user does once, before its tasks."""

    def last_check(self) -> None:
        """What the user looks at once, when the test ends."""

    def on_start(self) -> None:
        try:
            self.prepare()
        except Reported:
            pass  # it is in the statistics

    def on_stop(self) -> None:
        try:
            self.last_check()
        except Reported:
            pass  # it is in the statistics
        finally:
            self.db.close()
