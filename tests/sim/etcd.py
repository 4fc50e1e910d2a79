"""A simulated etcd: one service, and the ``Etcd`` that each process has of it over the simulated network.

Requests and answers travel between a process's host and the host ``etcd``, so whatever cuts that path cuts off the
process. If the answer is lost, the request was carried out all the same. If the request is held by a cut, it may be
carried out when the path has healed, after its sender has given it up. Whoever waits longer than ``REQUEST_SECONDS``
gets EtcdUnavailable.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from sherd.cluster.etcd.api import Absent, Change, Delete, EtcdUnavailable, Holds, KeyValue, Lease, Put
from sherd.common.errors import SherdError
from sim.clock import drifting_clock
from sim.etcd_store import EtcdStore
from sim.etcd_watch import ETCD_HOST, Watch
from sim.fabric import Fabric
from sim.scheduler import Scheduler

if TYPE_CHECKING:
    from sim.process import Process

COMMIT_SECONDS = 0.002
"""What a request takes at etcd, on average: its members agree and sync."""
REQUEST_SECONDS = 2.0
LATE_CHANCE = 0.5
"""That a request which was held by a cut is carried out after it."""
LEASE_LATE_SECONDS_MAX = 0.5
"""How long after its end the keys of a lease may still be there: etcd looks twice a second."""

T = TypeVar("T")


class EtcdServer:
    """The service. ``up``: whether it has a leader, and so does anything."""

    def __init__(self, scheduler: Scheduler, fabric: Fabric) -> None:
        self.scheduler = scheduler
        self.fabric = fabric
        self.store = EtcdStore()
        self.up = True
        self.dice = scheduler.dice("etcd")
        self.watches: dict[Watch, None] = {}
        self._clock = drifting_clock(scheduler, ETCD_HOST)
        self._looking_at = float("inf")
        fabric.add_host(ETCD_HOST)

    def client(self, process: "Process") -> "SimEtcd":
        """What ``process`` is handed."""
        return SimEtcd(self, process)

    @property
    def now(self) -> float:
        """By etcd's clock."""
        return self._clock.monotonic()

    def stop(self) -> None:
        """Down for everybody; nothing is lost."""
        self.scheduler.note(ETCD_HOST, "down")
        self.up = False
        for watch in list(self.watches):
            watch.end(EtcdUnavailable("etcd closed the connection"))

    def start(self) -> None:
        """There again, under a new leader."""
        self.scheduler.note(ETCD_HOST, "up")
        self.up = True
        self.store.change_leader(self.now)
        self.changed()

    def change_leader(self, seconds: float) -> None:
        """An election that takes so long."""
        self.stop()
        self.scheduler.after(seconds, self.start)

    def compact(self) -> None:
        self.scheduler.note(ETCD_HOST, f"compacted {self.store.revision}")
        self.store.compact()

    def changed(self) -> None:
        """The store may have changed: tell watches, and look at the leases when the first is due."""
        for watch in list(self.watches):  # one that is lost leaves
            watch.look()
        due = self.store.next_deadline()
        if due != self._looking_at:
            self._looking_at = due
            if due < float("inf"):
                late = self.dice.uniform(0.0, LEASE_LATE_SECONDS_MAX)
                self.scheduler.at(self._clock.true_time(due) + late, self._expire, due)

    def _expire(self, due: float) -> None:
        if due != self._looking_at or not self.up:
            return
        before = self.store.revision
        self.store.expire(self.now)
        self._looking_at = float("inf")
        self.scheduler.note(ETCD_HOST, f"leases looked at, revision {before} to {self.store.revision}")
        self.changed()


class _Request:
    """One request on its way to etcd and back."""

    def __init__(self, server: EtcdServer, process: "Process", act: Callable[[EtcdStore], object]) -> None:
        self.answer: asyncio.Future[object] = process.loop.create_future()
        self._server = server
        self._scheduler = server.scheduler
        self._process = process
        self._act = act
        self._scheduler.after(server.fabric.latency(process.host, ETCD_HOST), self._arrive, False)

    def _arrive(self, held: bool) -> None:
        server, host = self._server, self._process.host
        if not server.fabric.is_open(host, ETCD_HOST):
            if not held and server.dice.random() < LATE_CHANCE:
                server.fabric.when_open(host, ETCD_HOST, lambda: self._arrive(True))
        elif not server.up:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            self._send_back(None, EtcdUnavailable(f"etcd: {refused}"))
        else:
            self._scheduler.after(server.dice.expovariate(1.0 / COMMIT_SECONDS), self._execute)

    def _execute(self) -> None:
        server = self._server
        if not server.up:
            return  # its leader is gone, and with it the request
        self._scheduler.note(self._process.name, f"asks etcd at revision {server.store.revision}")
        try:
            result, error = self._act(server.store), None
        except SherdError as refusal:
            result, error = None, refusal
        server.changed()
        self._send_back(result, error)

    def _send_back(self, result: object, error: SherdError | None) -> None:
        seconds = self._server.fabric.latency(ETCD_HOST, self._process.host)
        self._scheduler.after(seconds, self._deliver, result, error)

    def _deliver(self, result: object, error: SherdError | None) -> None:
        fabric, host = self._server.fabric, self._process.host
        if fabric.is_open(ETCD_HOST, host):
            self._process.loop.call_soon(self._settle, result, error)
        else:
            fabric.when_open(ETCD_HOST, host, lambda: self._deliver(result, error))

    def _settle(self, result: object, error: SherdError | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


class SimEtcd:
    """See ``cluster/etcd/api.py``."""

    def __init__(self, server: EtcdServer, process: "Process") -> None:
        self._server = server
        self._process = process

    async def _ask(self, act: Callable[[EtcdStore], T]) -> T:
        request = _Request(self._server, self._process, act)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                found = await request.answer
        except TimeoutError:
            raise EtcdUnavailable(f"etcd has not answered within {REQUEST_SECONDS} s") from None
        return found  # type: ignore[return-value]  # it is what ``act`` gave

    async def read_prefix(self, prefix: str) -> tuple[int, list[KeyValue]]:
        return await self._ask(lambda store: store.read_prefix(prefix))

    async def transact(self, conditions: Sequence[Absent | Holds], changes: Sequence[Put | Delete]) -> bool:
        wanted, made = tuple(conditions), tuple(changes)
        return await self._ask(lambda store: store.transact(wanted, made))

    async def grant(self, ttl_seconds: int) -> Lease:
        return await self._ask(lambda store: store.grant(ttl_seconds, self._server.now))

    async def keep_alive(self, lease: int) -> int:
        return await self._ask(lambda store: store.keep_alive(lease, self._server.now))

    async def revoke(self, lease: int) -> None:
        await self._ask(lambda store: store.revoke(lease))

    async def watch(self, prefix: str, revision: int) -> AsyncIterator[Sequence[Change]]:
        watch = Watch(self._server, self._process, prefix, revision)
        try:
            while True:
                yield await watch.next()
        finally:
            watch.close()

    async def close(self) -> None:
        """There is nothing to let go of: each request has a connection of its own."""
