"""Load tests of a Sherd cluster with locust. See docs/loadtest.md.

    locust -f loadtest/locustfile.py --host 127.0.0.1:7700                     # web UI on http://localhost:8089
    locust -f loadtest/locustfile.py --host 127.0.0.1:7700 --headless -u 50 -r 10 -t 60s SessionStore EventLog

Exits 1 if a call failed or an answer was wrong.
"""

import sys
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import LocalRunner
from scenarios.bulk_ingest import BulkIngest
from scenarios.event_log import EventLog
from scenarios.mixed_with_faults import MixedWithFaults
from scenarios.session_store import SessionStore
from shard_killer import NotOurs, ShardKiller, require_loopback
from sherd_user import SherdUser, address_of

__all__ = ["BulkIngest", "EventLog", "MixedWithFaults", "SessionStore"]


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_arguments(parser: LocustArgumentParser) -> None:
    """The option that allows killing; not in the web UI, where anybody might find it."""
    parser.add_argument(
        "--kill-every",
        type=float,
        default=0.0,
        metavar="SECONDS",
        env_var="SHERD_LOADTEST_KILL_EVERY",
        include_in_web_ui=False,
        help="The cluster is mine: kill -9 a random shard of it every so many seconds, and expect it back. 0: never.",
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def install_killer(environment: Environment, **_: Any) -> None:
    """With ``--kill-every``, have a killer come and go with each test. Refuses what it can't do, at once."""
    seconds = environment.parsed_options.kill_every if environment.parsed_options else 0.0
    if not seconds:
        return
    if not isinstance(environment.runner, LocalRunner):
        sys.exit("--kill-every runs in one locust process: leave out --processes, --master and --worker")
    if not seconds > 0:
        sys.exit("--kill-every takes a number of seconds more than 0")
    try:
        require_loopback(address_of(environment.host))
    except NotOurs as error:
        sys.exit(f"--kill-every: {error}")
    killers: list[ShardKiller] = []

    def start(environment: Environment, **_: Any) -> None:
        killer = ShardKiller(address_of(environment.host), seconds, SherdUser.faults, environment.events.request)
        killer.start()
        killers.append(killer)

    def stop(**_: Any) -> None:
        while killers:
            killers.pop().stop()

    environment.events.test_start.add_listener(start)  # type: ignore[no-untyped-call]
    environment.events.test_stopping.add_listener(stop)  # type: ignore[no-untyped-call]
