"""A lease in etcd that is kept alive, and the moment until which its holder may act on it.

The deadline is counted from *before* a request was sent, on a clock that goes on while the machine sleeps; etcd counts
from when it received the request, and so ends the lease later. ``MARGIN`` of it is taken off for clocks that run at
different rates.
"""

import asyncio
import logging
import math
from random import Random

from sherd.cluster.etcd.api import Etcd, EtcdRefused, EtcdUnavailable
from sherd.common.clock import Clock
from sherd.common.logs import event

log = logging.getLogger(__name__)

MARGIN = 0.1
"""The share of a lease that its holder does not use."""
RENEWALS = 4
"""How often a lease is renewed before it would end."""
RETRY_SECONDS = 0.1


class KeptLease:
    """One lease, from ``grant`` on. ``deadline`` is on ``clock.boottime()``; minus infinity once it is over."""

    def __init__(self, etcd: Etcd, clock: Clock, random: Random, what: str) -> None:
        self._etcd = etcd
        self._clock = clock
        self._random = random
        self._what = what
        self._ttl_seconds = 0
        self.id = 0
        self.deadline = -math.inf

    async def grant(self, ttl_seconds: int) -> None:
        """Have etcd grant it. EtcdUnavailable or EtcdRefused if it does not."""
        asked_at = self._clock.boottime()
        lease = await self._etcd.grant(ttl_seconds)
        self.id, self._ttl_seconds = lease.id, lease.ttl_seconds
        self._extend(asked_at, lease.ttl_seconds)

    async def keep(self) -> None:
        """Renew it as long as etcd lets it; returns when it has ended, or its deadline is over."""
        pause = self._ttl_seconds * (1 - MARGIN) / RENEWALS
        complained = False
        while self._clock.boottime() < self.deadline:
            await asyncio.sleep((RETRY_SECONDS if complained else pause) * self._random.uniform(0.8, 1.0))
            asked_at = self._clock.boottime()
            try:
                ttl_seconds = await self._etcd.keep_alive(self.id)
            except (EtcdUnavailable, EtcdRefused) as error:
                if not complained:
                    event(log, logging.WARNING, "lease not renewed, trying again", of=self._what, reason=error)
                complained = True
                continue
            if ttl_seconds <= 0:
                event(log, logging.WARNING, "lease has ended", of=self._what)
                self.deadline = -math.inf
                return
            if complained:
                event(log, logging.INFO, "lease renewed again", of=self._what)
            complained = False
            self._extend(asked_at, ttl_seconds)
        event(log, logging.WARNING, "lease not renewed in time", of=self._what)

    async def end(self) -> None:
        """Act on it no more, and have etcd end it now if it can be reached; else it ends by itself."""
        self.deadline = -math.inf
        if self.id:
            try:
                await self._etcd.revoke(self.id)
            except (EtcdUnavailable, EtcdRefused) as error:
                event(log, logging.INFO, "lease not given back, it ends by itself", of=self._what, reason=error)
            self.id = 0

    def _extend(self, asked_at: float, ttl_seconds: int) -> None:
        self.deadline = max(self.deadline, asked_at + ttl_seconds * (1 - MARGIN))
