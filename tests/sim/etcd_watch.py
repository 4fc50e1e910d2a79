"""A watch of a simulated etcd: changes come in order, late or together, and may end without a word.

While the path from etcd is cut they are held. If either way stays cut for long, the connection is given up.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sherd.cluster.etcd.api import Change, EtcdUnavailable, WatchLost
from sherd.common.errors import SherdError

if TYPE_CHECKING:
    from sim.etcd import EtcdServer
    from sim.process import Process

ETCD_HOST = "etcd"
PROBE_SECONDS_MIN, PROBE_SECONDS_MAX = 5.0, 10.0
"""Between looks whether the other end can still be reached. Two that fail end the watch."""


class Watch:
    """One watch: at etcd, what it has been sent; at the process, what has come and was not taken yet."""

    def __init__(self, server: "EtcdServer", process: "Process", prefix: str, revision: int) -> None:
        self._server = server
        self._process = process
        self._prefix = prefix
        self._next_revision = revision
        self._flight: deque[list[Change] | SherdError] = deque()
        self._come: deque[list[Change] | SherdError] = deque()
        self._news = asyncio.Event()
        self._last_due = 0.0
        self._moving = False
        self._ended = False
        self._failed_probes = 0
        self._after(server.fabric.latency(process.host, ETCD_HOST), self._open)
        self._probe_later()
        self._hold = process.on_death(self.close)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._server.scheduler.after(seconds, act)

    def _open(self) -> None:
        """The wish for it has come to etcd, if it has."""
        server = self._server
        if self._ended:
            return
        if not server.fabric.is_open(self._process.host, ETCD_HOST):
            server.fabric.when_open(self._process.host, ETCD_HOST, self._open)
        elif not server.up:
            self.end(EtcdUnavailable("etcd does not answer"))
        else:
            server.watches[self] = None
            self.look()

    def look(self) -> None:
        """Send what is new."""
        store = self._server.store
        if self._ended or store.revision < self._next_revision:
            return
        try:
            changes = store.changes(self._prefix, self._next_revision)
        except WatchLost as error:
            self.end(error)
            return
        self._next_revision = store.revision + 1
        if changes:
            self._send(changes)

    def _send(self, item: list[Change] | SherdError) -> None:
        self._flight.append(item)
        due = self._server.scheduler.now + self._server.fabric.latency(ETCD_HOST, self._process.host)
        self._last_due = max(due, self._last_due)
        self._server.scheduler.at(self._last_due, self._arrive)

    def _arrive(self) -> None:
        """At the time that the first in flight, or one before it, was due."""
        fabric = self._server.fabric
        if not self._flight:
            return
        if not fabric.is_open(ETCD_HOST, self._process.host):
            fabric.when_open(ETCD_HOST, self._process.host, self._arrive_all)
            return
        self._process.loop.call_soon(self._take, self._flight.popleft())

    def _arrive_all(self) -> None:
        for _ in range(len(self._flight)):
            self._arrive()

    def _take(self, item: list[Change] | SherdError) -> None:
        self._come.append(item)
        self._news.set()

    def end(self, error: SherdError) -> None:
        """Of etcd: nothing more will come."""
        if not self._ended:
            self._ended = True
            self._server.watches.pop(self, None)
            self._send(error)

    def close(self) -> None:
        """Of the process: nobody wants it any more."""
        self._process.keeps_no_more(self._hold)
        self._ended = True
        self._server.watches.pop(self, None)

    def _probe_later(self) -> None:
        self._after(self._server.dice.uniform(PROBE_SECONDS_MIN, PROBE_SECONDS_MAX), self._probe)

    def _probe(self) -> None:
        fabric, host = self._server.fabric, self._process.host
        if self._ended:
            return
        both = fabric.is_open(host, ETCD_HOST) and fabric.is_open(ETCD_HOST, host)
        self._failed_probes = 0 if both else self._failed_probes + 1
        if self._failed_probes < 2:
            self._probe_later()
            return
        self.close()
        self._flight.clear()
        self._process.loop.call_soon(self._take, EtcdUnavailable("the connection of a watch has timed out"))

    async def next(self) -> list[Change]:
        """What has changed since; all that has come."""
        while not self._come:
            self._news.clear()
            await self._news.wait()
        found: list[Change] = []
        while self._come:
            item = self._come[0]
            if isinstance(item, SherdError):
                if found:
                    return found
                raise item
            found += item
            self._come.popleft()
        return found
