"""Kills a random shard of a cluster of one's own every few seconds, and times how long the supervisor takes.

Each kill is reported to locust as ``fault``: its response time is that from the kill until the shard serves again, and
it fails if that takes longer than ``BACK_SECONDS_MAX``. Only on a loopback address, and only a process that is seen to
be the shard which ``status`` says it is.
"""

import ipaddress
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import gevent
from fault_window import FaultWindow, is_retryable
from gevent.event import Event
from locust.event import EventHook

from sherd import Client, SherdError

BACK_SECONDS_MAX = 30.0
POLL_SECONDS = 0.02


class NotOurs(Exception):
    """It is not certain that the cluster, or a process, is one that may be killed."""


class NotBack(Exception):
    """A killed shard does not serve again."""


class ShardKiller:
    """Kills a shard of the cluster at ``address`` every ``seconds``; NotOurs if that is not on this machine."""

    def __init__(self, address: str, seconds: float, faults: FaultWindow, request_event: EventHook) -> None:
        require_loopback(address)
        self._db = Client(address, timeout=2.0)
        self._seconds = seconds
        self._faults = faults
        self._request_event = request_event
        self._halt = Event()
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin; the first kill comes after ``seconds``."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End, when the shard killed last serves again."""
        self._halt.set()
        if self._greenlet is not None:
            self._greenlet.get()
        self._db.close()

    def _run(self) -> None:
        while not self._halt.wait(self._seconds):
            self._fault()

    def _fault(self) -> None:
        began, started = time.perf_counter(), time.time()
        error: Exception | None = None
        try:
            shard = random.choice(self._db.status()["shards"])
            shard_id, pid = int(shard["id"]), int(shard["leader"]["pid"])
            self._faults.begin()
            kill_shard(shard_id, pid)
            self._await_back(shard_id, pid)
        except (NotOurs, NotBack, SherdError) as raised:
            error = raised
        finally:
            self._faults.end()
        self._request_event.fire(  # type: ignore[no-untyped-call]
            request_type="fault",
            name="a shard killed, until it serves again",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=error,
            start_time=started,
            context={},
        )

    def _await_back(self, shard_id: int, killed: int) -> None:
        deadline = time.monotonic() + BACK_SECONDS_MAX
        while not self._serves_anew(shard_id, killed):
            if time.monotonic() > deadline:
                raise NotBack(f"shard {shard_id}, pid {killed}, is not back {BACK_SECONDS_MAX:.0f} s after its kill")
            gevent.sleep(POLL_SECONDS)

    def _serves_anew(self, shard_id: int, killed: int) -> bool:
        """Whether another process than the one killed answers for the shard."""
        try:
            shards: list[dict[str, Any]] = self._db.status()["shards"]
        except SherdError as error:
            if is_retryable(error):
                return False
            raise
        leaders = [shard["leader"] for shard in shards if shard["id"] == shard_id and shard.get("leader")]
        return any(leader.get("pid") not in (None, killed) and "written_lsn" in leader for leader in leaders)


def require_loopback(address: str) -> None:
    """NotOurs unless all of ``address`` is on this machine's loopback interface."""
    for one in address.split(","):
        host = one.rpartition(":")[0].strip("[]")
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise NotOurs(f"shards are killed on a loopback address like 127.0.0.1:7700 only, not at {one}")


def kill_shard(shard_id: int, pid: int) -> None:
    """SIGKILL to the process of a shard; NotOurs if ``pid`` is not seen to be one of that number."""
    try:
        process = os.pidfd_open(pid)
    except (OSError, ValueError) as error:
        raise NotOurs(f"no process {pid} to kill for shard {shard_id}: {error}") from error
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if not {b"sherd.cli.main", b"shard", f"--id={shard_id}".encode()} <= set(words):
            raise NotOurs(f"process {pid} is not shard {shard_id} of a cluster on this machine; it was left alone")
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except OSError as error:
        raise NotOurs(f"process {pid} of shard {shard_id} can't be killed: {error}") from error
    finally:
        os.close(process)
