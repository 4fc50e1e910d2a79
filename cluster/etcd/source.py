"""The topology in etcd for a process that only follows it."""

import asyncio
import contextlib
import logging

from sherd.cluster.etcd.api import Etcd
from sherd.cluster.etcd.topology import EtcdTopology
from sherd.common.logs import event
from sherd.common.topology.state import Topology

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""How long it may take to see a topology before the wait is told of."""


class EtcdSource:
    """A ``TopologySource`` over ``topology``, which it keeps following until it is closed; then etcd is let go of."""

    def __init__(self, etcd: Etcd, topology: EtcdTopology) -> None:
        self._etcd = etcd
        self._topology = topology
        self._shown = 0
        self._following: asyncio.Task[None] | None = None

    async def read(self) -> Topology:
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._topology.follow())
        waiting = asyncio.ensure_future(self._topology.watch(0))
        both = {waiting, self._following}
        done, _ = await asyncio.wait(both, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            event(log, logging.WARNING, "waiting for a topology: has a coordinator made one, and does etcd answer?")
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            self._following.result()
        topology = waiting.result()
        self._shown = topology.version
        return topology

    def look(self) -> Topology | None:
        if self._following is not None and self._following.done():
            self._following.result()
        latest = self._topology.latest
        if latest is None or latest.version <= self._shown:
            return None
        self._shown = latest.version
        return latest

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await self._etcd.close()
